//! The load of one round: its streams, and a thread for every producer and consumer.

use super::consumer::Consumer;
use super::dice::Dice;
use super::gate::{Gate, Phase};
use super::producer::{Producer, Wire};
use super::rest::{Rest, path_segment};
use super::socket::Broken;
use super::tally::{Rule, StreamTally};
use crate::plan::Target;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What a thread of the load shares with the runner.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) gate: Arc<Gate>,
    pub(crate) tally: Arc<Mutex<StreamTally>>,
    /// Messages go with a dedup id, and consumers give some up. Without, nothing is kept for longer than its acks, and
    /// segments go while messages come.
    pub(crate) keeps: bool,
    /// The disk will be taken away: complaints about it are no wrong.
    pub(crate) may_fail: bool,
}

/// Locks a tally. A thread that panicked has told so; what it had noted still counts.
pub(crate) fn lock(tally: &Mutex<StreamTally>) -> MutexGuard<'_, StreamTally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One stream of a round.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    pub(crate) name: String,
    pub(crate) rule: Rule,
    /// Its groups, by name; empty: the default group. None for streams that are only read back.
    pub(crate) groups: Vec<String>,
    /// How long repeats are recognised; none: messages go without a dedup id, and a repeat may be stored again. Segments
    /// that a window needs are kept, so a log is trimmed under load only without.
    pub(crate) dedup_window_ms: Option<u64>,
}

/// Longer than any trial waits before it repeats a publish.
pub(crate) const LONG_WINDOW_MS: u64 = 3_600_000;

impl Course {
    /// What the stream is told to be.
    fn settings(&self) -> String {
        let rest = match self.rule {
            // Messages are given back and forgotten on purpose; none shall go to the dead letters.
            Rule::Work(_) => r#""maxDeliver":0,"durability":"commit""#,
            Rule::Log => r#""retention":{"policy":"log"},"durability":"commit""#,
            Rule::Control => r#""retention":{"policy":"log"},"durability":{"interval":5000}"#,
        };
        let window = self.dedup_window_ms.map_or_else(String::new, |ms| format!(",\"dedupWindowMs\":{ms}"));
        format!("{{{rest}{window}}}")
    }
}

/// The streams of a round: work streams for the default group, work streams for two named groups, and, when there
/// shall be some, as many logs. Without logs there are no dedup ids and no dead letters either, so that segments go while
/// messages come.
pub(crate) fn courses(prefix: &str, streams: u32, has_logs: bool) -> Vec<Course> {
    let course = |stream: u32| {
        let (kind, groups): (&str, &[&str]) = match stream % 4 {
            1 | 3 if has_logs => ("log", &[]),
            0 | 1 => ("work", &[""]),
            _ => ("shared", &["one", "two"]),
        };
        let rule = if groups.is_empty() { Rule::Log } else { Rule::Work(groups.len()) };
        Course {
            dedup_window_ms: has_logs.then_some(LONG_WINDOW_MS),
            name: format!("{prefix}/{kind}-{stream}"),
            rule,
            groups: groups.iter().map(|&name| name.into()).collect(),
        }
    };
    (0..streams).map(course).collect()
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    /// New messages a second, of all producers together.
    pub(crate) rate: f64,
    /// Messages of one WebSocket producer on their way.
    pub(crate) window: usize,
    /// The disk will be taken away.
    pub(crate) may_fail: bool,
}

/// A running load.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) gate: Arc<Gate>,
    pub(crate) courses: Vec<Course>,
    pub(crate) tallies: Vec<Arc<Mutex<StreamTally>>>,
    producers: Vec<JoinHandle<()>>,
    consumers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Makes the streams and starts all threads.
    pub(crate) fn start(
        target: &Target,
        courses: Vec<Course>,
        amount: Amount,
        dice: &mut Dice,
    ) -> Result<Self, Broken> {
        set_up(target, &courses)?;
        let gate = Arc::new(Gate::default());
        gate.open(target.clone());
        let mut load = Self { gate, courses, tallies: Vec::new(), producers: Vec::new(), consumers: Vec::new() };
        let rate = amount.rate / (load.courses.len() as f64 * 2.0);
        for (place, course) in load.courses.iter().enumerate() {
            let mut tally = StreamTally::new(course.name.clone(), course.rule);
            tally.may_double = course.dedup_window_ms.is_none();
            let tally = Arc::new(Mutex::new(tally));
            load.tallies.push(Arc::clone(&tally));
            let shared = Shared {
                gate: Arc::clone(&load.gate),
                tally,
                keeps: course.dedup_window_ms.is_some(),
                may_fail: amount.may_fail,
            };
            for (number, wire) in [(2 * place, Wire::WebSocket(amount.window)), (2 * place + 1, Wire::Http)] {
                let producer = Producer { number: number as u32, wire, shared: shared.clone(), rate };
                load.producers.push(std::thread::spawn(move || producer.run()));
            }
            for group in course.groups.iter().cloned().enumerate() {
                // The default group has competitors.
                for _ in 0..if group.1.is_empty() { 2 } else { 1 } {
                    let consumer =
                        Consumer { shared: shared.clone(), group: group.clone(), dice: Dice::new(dice.draw()) };
                    load.consumers.push(std::thread::spawn(move || consumer.run()));
                }
            }
        }
        Ok(load)
    }

    /// Waits until everything that was made is answered, then stops everybody.
    pub(crate) fn settle(&mut self) {
        self.gate.enter(Phase::Settle);
        self.producers.drain(..).for_each(join);
        self.stop();
    }

    /// Stops everybody at once.
    pub(crate) fn stop(&mut self) {
        self.gate.enter(Phase::End);
        self.producers.drain(..).chain(self.consumers.drain(..)).for_each(join);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        // A trial whose threads die proves nothing.
        std::panic::resume_unwind(panic);
    }
}

/// Makes the streams and their groups, so that nothing is released before all of its readers are known.
pub(crate) fn set_up(target: &Target, courses: &[Course]) -> Result<(), Broken> {
    let mut rest = Rest::open(target)?;
    for course in courses {
        let path = format!("/v1/streams/{}", path_segment(&course.name));
        put(&mut rest, &path, &course.settings())?;
        for group in &course.groups {
            put(&mut rest, &format!("{path}/groups/{group}"), r#"{"maxDeliver":0}"#)?;
        }
    }
    Ok(())
}

fn put(rest: &mut Rest, path: &str, body: &str) -> Result<(), Broken> {
    let reply = rest.ask("PUT", path, body)?;
    // What was asked for must be in force now, and not only after a restart.
    let asked: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let is = reply.json();
    let mut asked = asked.as_object().into_iter().flatten();
    let is_in_force = asked.all(|(name, value)| includes(&is[name], value));
    if matches!(reply.status, 200 | 201) && is_in_force {
        return Ok(());
    }
    Err(Broken(format!("PUT {path} with {body}: {}", reply.words())))
}

/// The value has everything that was asked for, and perhaps more.
fn includes(value: &serde_json::Value, asked: &serde_json::Value) -> bool {
    match asked.as_object() {
        Some(members) => members.iter().all(|(name, asked)| includes(&value[name], asked)),
        None => value == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_say_more_than_was_asked_for_and_not_less() {
        let value = serde_json::json!({"a": {"b": 1, "c": 2}, "d": "e"});
        assert!(includes(&value, &serde_json::json!({"a": {"b": 1}, "d": "e"})));
        for other in
            [serde_json::json!({"a": {"b": 2}}), serde_json::json!({"d": {"interval": 5}}), serde_json::json!({"x": 1})]
        {
            assert!(!includes(&value, &other), "{other}");
        }
    }

    #[test]
    fn streams_of_every_kind_are_loaded() {
        let (with, without) = (courses("t", 4, true), courses("t", 4, false));
        let names = |courses: &[Course]| courses.iter().map(|course| course.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&with), ["t/work-0", "t/log-1", "t/shared-2", "t/log-3"]);
        assert_eq!(names(&without), ["t/work-0", "t/work-1", "t/shared-2", "t/shared-3"]);
        for course in with.into_iter().chain(without) {
            let groups = course.groups.len();
            assert_eq!(course.rule, if groups == 0 { Rule::Log } else { Rule::Work(groups) });
            assert!(serde_json::from_str::<serde_json::Value>(&course.settings()).is_ok());
            assert!(course.groups.len() <= super::super::tally::GROUPS_MAX);
        }
    }
}
