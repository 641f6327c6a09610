//! Values that are fine alone and wrong together.

use crate::config::Config;
use crate::origins::is_safe_for_keys;
use crate::problem::Problem;
use crate::resolve::{Origin, key};
use crate::setting::Setting;
use crate::table::SETTINGS;
use conduit_protocol::Policy;

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
    AtMost {
        lower: "log-batch-bytes-max",
        upper: "log-unsynced-bytes-max",
        why: "a batch is not synced while it fills",
    },
    AtMost {
        lower: "dedup-window-ms",
        upper: "dedup-window-ms-max",
        why: "the default must be one that may be asked for",
    },
    AtMost { lower: "groups-per-stream-max", upper: "groups-max", why: "a stream lives in one shard" },
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
    if config.data_dir.is_some() {
        problems
            .extend(log_contradictions(config, origins).into_iter().filter(|(flags, _)| judged(*flags)).map(|it| it.1));
    } else if judged(["data-dir", "durability"]) {
        problems.extend(durability_without_a_disk(config, origins));
    }
    let jwt = &config.access.jwt;
    for (flag, is_there) in [("oidc-jwks-uri", jwt.jwks_uri.is_some()), ("oidc-issuer", jwt.issuer.is_some())] {
        if jwt.oidc && !is_there && judged(["oidc-enabled", flag]) {
            let (at, enabled) = setting("oidc-enabled");
            problems.push(Problem::new(
                key(enabled, &origins[at]),
                format!("without --{flag} no token could be checked"),
                format!("set --{flag}, or do not switch it on"),
            ));
        }
    }
    if let Some(uri) = jwt.jwks_uri.as_ref().filter(|uri| !is_safe_for_keys(uri))
        && judged(["oidc-jwks-uri"; 2])
    {
        let (at, setting) = setting("oidc-jwks-uri");
        let problem = Problem::new(
            key(setting, &origins[at]),
            "keys decide who comes in, and whoever is on the way could put in keys of their own",
            "name an https address, or an http one of this machine itself",
        );
        problems.push(problem.with_value(uri));
    }
    // The core has the last word on its own limits.
    if problems.is_empty()
        && let Err(reason) = config.shard.validate().and_then(|()| config.log.validate())
    {
        problems.push(Problem::new(
            "the limits of a shard",
            reason,
            "`conduit --check-config` without the limits set shows values that fit each other",
        ));
    }
    problems
}

/// What contradicts itself about the log, each with the settings that it is about.
fn log_contradictions(config: &Config, origins: &[Origin]) -> Vec<([&'static str; 2], Problem)> {
    let segment = config.log.segment_bytes;
    let mut problems = Vec::new();
    if !segment.is_multiple_of(SEGMENT_STEP) {
        let rounded = segment.next_multiple_of(SEGMENT_STEP);
        let remedy = format!("set it to {rounded}");
        let reason = format!("it is not a multiple of {SEGMENT_STEP}");
        let problem = contradiction(origins, "segment-bytes", segment, &reason, &remedy);
        problems.push((["segment-bytes"; 2], problem));
    }
    for largest in ["max-json-size", "ws-max-message-size"] {
        let least = value(config, largest).saturating_mul(MESSAGES_PER_SEGMENT);
        if segment < least {
            let reason = format!("it holds fewer than {MESSAGES_PER_SEGMENT} of the largest messages (--{largest})");
            let remedy = format!("raise it to at least {least}, or lower --{largest} to at most {}", segment / 4);
            let problem = contradiction(origins, "segment-bytes", segment, &reason, &remedy);
            problems.push((["segment-bytes", largest], problem));
        }
    }
    let (log, least) = (config.log.log_bytes_max, segment.saturating_mul(SEGMENTS_LEAST));
    if log != 0 && log < least {
        let reason = format!("it does not hold {SEGMENTS_LEAST} segments of --segment-bytes = {segment}");
        let remedy = format!("raise it to at least {least}, set it to 0 for no bound, or lower --segment-bytes");
        let problem = contradiction(origins, "log-bytes-max", log, &reason, &remedy);
        problems.push((["log-bytes-max", "segment-bytes"], problem));
    }
    let (batch, most) = (config.log.batch_bytes_max, segment.saturating_sub(SEGMENT_STEP));
    if batch > most {
        let reason = format!("it does not fit into a segment of --segment-bytes = {segment}");
        let problem =
            contradiction(origins, "log-batch-bytes-max", batch, &reason, &format!("lower it to at most {most}"));
        problems.push((["log-batch-bytes-max", "segment-bytes"], problem));
    }
    problems
}

/// Segments consist of blocks of this size.
const SEGMENT_STEP: u64 = 4_096;
/// The largest messages that fit into one segment, at least: fewer would leave most of a segment empty.
const MESSAGES_PER_SEGMENT: u64 = 4;
/// One segment that is written, one ready, one in reserve, one on its way out.
const SEGMENTS_LEAST: u64 = 4;

/// A durability was asked for, and there is no place for it.
fn durability_without_a_disk(config: &Config, origins: &[Origin]) -> Option<Problem> {
    let (at, setting) = setting("durability");
    if origins[at] == Origin::Default || !config.durability.uses_a_disk() {
        return None;
    }
    let problem = Problem::new(
        key(setting, &origins[at]),
        "without --data-dir nothing can be kept on a disk",
        "name a directory with --data-dir, or set it to memory",
    );
    Some(problem.with_value(config.durability.to_string()))
}

/// What passes but is probably not meant.
pub(crate) fn warnings(config: &Config, policy: &Policy, cores: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if usize::from(config.shards) > cores {
        warnings.push(format!(
            "{} shards on {cores} cores: they run unpinned and take turns; --shards {cores} is faster",
            config.shards
        ));
    }
    if !config.bind.is_loopback() && policy.access.is_open() {
        warnings.push(format!(
            "listening on {} without TLS and without tokens: anyone who reaches the ports may publish and consume",
            config.bind
        ));
    }
    if !policy.access.is_open() && config.access.control_token.is_none() {
        warnings.push(
            if policy.access.has_admins() {
                "there are tokens and no --control-token: every token that belongs to no tenant may reload and drain the server"
            } else {
                "there are tokens of tenants only and no --control-token: nobody may look at the whole server, or reload and drain it over HTTP (SIGHUP and SIGTERM do)"
            }
            .to_owned(),
        );
    }
    if let Some(data_dir) = &config.data_dir
        && !config.durability.uses_a_disk()
    {
        warnings.push(format!(
            "--durability {} keeps every stream in memory: {} is used only for streams that ask for more themselves",
            config.durability,
            data_dir.display()
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
    Problem::new(key(setting, &origins[at]), reason, remedy).with_value(value.to_string())
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

    fn durable() -> Config {
        Config { data_dir: Some("data".into()), ..Config::new(1) }
    }

    fn origins() -> Vec<Origin> {
        vec![Origin::Default; SETTINGS.len()]
    }

    #[test]
    fn a_segment_holds_four_messages_of_the_largest_kind_and_whole_blocks() {
        for largest in ["max-json-size", "ws-max-message-size"] {
            let mut config = durable();
            set(&mut config, "segment-bytes", 256 << 20);
            set(&mut config, "stream-bytes-max", 1 << 30);
            set(&mut config, largest, 64 << 20);
            assert_eq!(check(&config, &origins(), &[]), []);
            set(&mut config, largest, (64 << 20) + 1);
            assert_eq!(check(&config, &origins(), &[])[0].key, "--segment-bytes");
            assert_eq!(check(&config, &origins(), &[largest]), [], "what has no value is not judged");
            config.data_dir = None;
            assert_eq!(check(&config, &origins(), &[]), [], "without a log it does not matter");
        }
        let mut config = durable();
        set(&mut config, "segment-bytes", (64 << 20) + 8);
        assert!(check(&config, &origins(), &[])[0].remedy.contains(&((64 << 20) + 4_096).to_string()));
    }

    #[test]
    fn a_log_holds_four_segments_and_a_segment_a_batch() {
        let mut config = durable();
        for (flag, fits, does_not) in [
            ("log-bytes-max", 256 << 20, (256 << 20) - 1),
            ("log-batch-bytes-max", (64 << 20) - 4_096, (64 << 20) - 4_095),
        ] {
            set(&mut config, "log-unsynced-bytes-max", 1 << 30);
            set(&mut config, flag, fits);
            assert_eq!(check(&config, &origins(), &[]), [], "{flag} = {fits}");
            set(&mut config, flag, does_not);
            let problems = check(&config, &origins(), &[]);
            assert_eq!((problems.len(), &*problems[0].key), (1, &*format!("--{flag}")));
            config = durable();
        }
        set(&mut config, "log-bytes-max", 0);
        assert_eq!(check(&config, &origins(), &[]), []);
    }

    #[test]
    fn a_durability_that_needs_a_disk_needs_a_directory() {
        let at = setting("durability").0;
        let mut given = origins();
        given[at] = Origin::Flag;
        for (text, with, without) in [("commit", 0, 1), ("interval(5)", 0, 1), ("memory", 0, 0), ("a=memory", 0, 1)] {
            let mut config = durable();
            config.durability = crate::DurabilityRules::parse(text).expect("valid");
            assert_eq!(check(&config, &given, &[]).len(), with, "{text}");
            config.data_dir = None;
            assert_eq!(check(&config, &given, &[]).len(), without, "{text}");
            assert_eq!(check(&config, &origins(), &[]), [], "nobody asked for it");
        }
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
