//! Values that are fine alone and wrong together.

use crate::config::Config;
use crate::problem::Problem;
use crate::resolve::{Origin, key};
use crate::setting::Setting;
use crate::table::SETTINGS;

/// `lower <= upper` between two settings, and why.
struct AtMost {
    lower: &'static str,
    upper: &'static str,
    why: &'static str,
}

/// The order that pairs of numbers must keep.
const AT_MOST: &[AtMost] = &[
    AtMost { lower: "max-request-line", upper: "max-header-size", why: "the line is part of the head" },
    AtMost { lower: "headers-timeout-ms", upper: "request-timeout-ms", why: "headers are part of the request" },
    AtMost { lower: "stream-messages-max", upper: "shard-messages-max", why: "a stream lives in one shard" },
    AtMost { lower: "stream-bytes-max", upper: "shard-bytes-max", why: "a stream lives in one shard" },
    AtMost { lower: "ws-max-message-size", upper: "stream-bytes-max", why: "a message must fit its stream" },
    AtMost { lower: "ack-wait-ms-min", upper: "ack-wait-ms", why: "the default must be one that may be asked for" },
    AtMost { lower: "ack-wait-ms", upper: "ack-wait-ms-max", why: "the default must be one that may be asked for" },
];

/// Every contradiction in `config`. Settings named in `unfit` have no value: what they take part in is not judged.
pub(crate) fn check(config: &Config, origins: &[Origin], unfit: &[&str]) -> Vec<Problem> {
    let judged = |flags: [&str; 2]| flags.iter().all(|flag| !unfit.contains(flag));
    let mut problems = Vec::new();
    for relation in AT_MOST.iter().filter(|relation| judged([relation.lower, relation.upper])) {
        let (lower, upper) = (value(config, relation.lower), value(config, relation.upper));
        if lower > upper {
            problems.push(contradiction(
                origins,
                relation.lower,
                lower,
                &format!("it is above --{} = {upper}, but {}", relation.upper, relation.why),
                &format!("lower it to at most {upper}, or raise --{} to at least {lower}", relation.upper),
            ));
        }
    }
    let (pause, resume) = (value(config, "pause-at-per-mille"), value(config, "resume-at-per-mille"));
    if resume >= pause && judged(["pause-at-per-mille", "resume-at-per-mille"]) {
        problems.push(contradiction(
            origins,
            "resume-at-per-mille",
            resume,
            &format!("it is not below --pause-at-per-mille = {pause}, so publishers would be paused for nothing"),
            &format!("lower it below {pause}"),
        ));
    }
    if config.http_port == config.ws_port && config.http_port != 0 && judged(["http-port", "ws-port"]) {
        problems.push(contradiction(
            origins,
            "ws-port",
            config.ws_port.into(),
            "both ports are the same",
            "give them different numbers; each serves HTTP and WebSocket alike",
        ));
    }
    if let Some(cpus) = &config.cpus
        && cpus.len() != usize::from(config.shards)
        && judged(["cpus", "shards"])
    {
        problems.push(contradiction(
            origins,
            "shards",
            config.shards.into(),
            &format!("--cpus names {} CPUs, and every shard needs exactly one", cpus.len()),
            &format!("drop --shards, or name {} CPUs", config.shards),
        ));
    }
    // The core has the last word on its own limits.
    if problems.is_empty()
        && let Err(reason) = config.shard.validate()
    {
        problems.push(Problem {
            key: "the limits of a shard".to_owned(),
            value: None,
            reason,
            remedy: "`conduit --check-config` without the limits set shows values that fit each other".to_owned(),
        });
    }
    problems
}

/// What passes but is probably not meant.
pub(crate) fn warnings(config: &Config, cores: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if usize::from(config.shards) > cores {
        warnings.push(format!(
            "{} shards on {cores} cores: they run unpinned and take turns; --shards {cores} is faster",
            config.shards
        ));
    }
    if !config.bind.is_loopback() {
        warnings.push(format!(
            "listening on {} without TLS and without tokens: anyone who reaches the ports may publish and consume",
            config.bind
        ));
    }
    warnings
}

fn setting(flag: &str) -> (usize, &'static Setting) {
    let at = SETTINGS.iter().position(|setting| setting.flag == flag);
    let at = at.expect("relations name settings of the table: a unit test proves it");
    (at, &SETTINGS[at])
}

fn value(config: &Config, flag: &str) -> u64 {
    setting(flag).1.show(config).parse().expect("relations name numbers: a unit test proves it")
}

fn contradiction(origins: &[Origin], flag: &str, value: u64, reason: &str, remedy: &str) -> Problem {
    let (at, setting) = setting(flag);
    Problem {
        key: key(setting, origins[at]),
        value: Some(value.to_string()),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(config: &mut Config, flag: &str, value: u64) {
        setting(flag).1.set(config, &value.to_string()).expect("within bounds");
    }

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        assert_eq!(check(&Config::new(8), &vec![Origin::Default; SETTINGS.len()], &[]), []);
    }

    #[test]
    fn each_relation_passes_at_equality_and_fails_one_above() {
        for relation in AT_MOST {
            let mut config = Config::new(1);
            let meet = value(&config, relation.lower);
            set(&mut config, relation.upper, meet);
            let origins = vec![Origin::Default; SETTINGS.len()];
            assert_eq!(check(&config, &origins, &[]), [], "{} = {}", relation.lower, relation.upper);
            set(&mut config, relation.lower, meet + 1);
            let problems = check(&config, &origins, &[]);
            assert!(
                problems.iter().any(|problem| problem.key == format!("--{}", relation.lower)),
                "{} above {} was accepted",
                relation.lower,
                relation.upper
            );
        }
    }
}
