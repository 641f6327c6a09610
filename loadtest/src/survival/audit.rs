//! Reads back everything that must still be there.

use super::consumer::subscribe_path;
use super::load::lock;
use super::payload::{Envelope, Mark};
use super::rest::{Rest, path_segment};
use super::socket::{Broken, Socket};
use super::tally::{StreamTally, Wrong};
use crate::plan::Target;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Without progress for so long, what is missing does not come any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// Silence after which the server is asked whether there is more.
const SILENCE: Duration = Duration::from_millis(30);

/// Credit of a reader.
const CREDIT: usize = 1_000;

/// Reads a whole stream, lowest seq first, as a reader that leaves no trace.
pub(crate) fn read_back(target: &Target, tally: &Mutex<StreamTally>) -> Result<(), Broken> {
    let name = lock(tally).name.clone();
    let path = subscribe_path(&name, "", &format!("&ephemeral=1&from=first&hello=1&credit={CREDIT}"));
    let mut reader = Reader::open(target, &path)?;
    let mut rest = Rest::open(target)?;
    let mut last = 0;
    loop {
        let came = reader.read(tally, SILENCE)?;
        for (mark, seq) in &came {
            lock(tally).note_read(*mark, *seq);
            last = *seq;
        }
        if !came.is_empty() {
            continue;
        }
        let path = format!("/v1/streams/{}/messages?from={}&limit=1", path_segment(&name), last + 1);
        let more = ask(&mut rest, &path, |reply| reply.get("messages")?.as_array().map(Vec::len))?;
        if more == 0 {
            return Ok(());
        }
        if reader.progress.elapsed() > PATIENCE {
            lock(tally).note_wrong(Wrong::Stalled, &format!("reading back ends behind {last}, and there is more"));
            return Ok(());
        }
    }
}

/// Takes and acks everything that a group has left. `group` is its place in the tally.
pub(crate) fn drain(target: &Target, tally: &Mutex<StreamTally>, group: usize, group_name: &str) -> Result<(), Broken> {
    let name = lock(tally).name.clone();
    let path = subscribe_path(&name, group_name, &format!("&hello=1&credit={CREDIT}"));
    let mut reader = Reader::open(target, &path)?;
    let mut rest = Rest::open(target)?;
    loop {
        let came = reader.read(tally, SILENCE)?;
        for (mark, seq) in &came {
            lock(tally).note_drained(group, *mark, *seq);
        }
        if !came.is_empty() {
            continue;
        }
        let path = format!("/v1/streams/{}/groups/{group_name}", path_segment(&name));
        let left =
            ask(&mut rest, &path, |reply| Some((reply.get("backlog")?.as_u64()?, reply.get("inflight")?.as_u64()?)))?;
        if left == (0, 0) {
            return Ok(());
        }
        if reader.progress.elapsed() > PATIENCE {
            let words = format!("group {group_name:?} cannot be drained: backlog and in flight are {left:?}");
            lock(tally).note_wrong(Wrong::Stalled, &words);
            return Ok(());
        }
    }
}

/// Looks at all dead letters of a stream.
pub(crate) fn read_dead_letters(target: &Target, tally: &Mutex<StreamTally>) -> Result<(), Broken> {
    let name = format!("{}.dlq", lock(tally).name);
    let mut rest = Rest::open(target)?;
    let mut next = Some(1);
    while let Some(from) = next {
        let path = format!("/v1/streams/{}/messages?from={from}", path_segment(&name));
        let reply = rest.ask("GET", &path, "")?;
        if reply.status == 404 {
            // Nothing was given up.
            return Ok(());
        }
        let page: Page<'_> = serde_json::from_slice(&reply.body)
            .map_err(|error| Broken(format!("GET {path}: {error}: {}", reply.words())))?;
        let mut tally = lock(tally);
        for Peeked { seq, envelope: letter } in page.messages {
            match letter.envelope.mark().filter(|_| letter.reason == "dead" && letter.last_error == Some("given up")) {
                Some(mark) => tally.note_dead(mark, letter.seq),
                None => tally.note_wrong(Wrong::Corrupted, &format!("the dead letter with seq {seq}")),
            }
        }
        next = page.next;
    }
    Ok(())
}

/// Some dead letters.
#[derive(Debug, Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    messages: Vec<Peeked<'a>>,
    next: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Peeked<'a> {
    seq: u64,
    #[serde(borrow)]
    envelope: Letter<'a>,
}

/// What a dead letter says of the message in it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Letter<'a> {
    reason: &'a str,
    last_error: Option<&'a str>,
    /// Where it was in its stream.
    seq: u64,
    #[serde(borrow)]
    envelope: Envelope<'a>,
}

/// Asks for a document and takes something from it.
fn ask<T>(rest: &mut Rest, path: &str, take: impl FnOnce(&Value) -> Option<T>) -> Result<T, Broken> {
    let reply = rest.ask("GET", path, "")?;
    take(&reply.json()).ok_or_else(|| Broken(format!("GET {path}: {}", reply.words())))
}

/// A subscription that acks everything it gets.
struct Reader {
    socket: Socket,
    progress: Instant,
}

impl Reader {
    fn open(target: &Target, path: &str) -> Result<Self, Broken> {
        Ok(Self { socket: Socket::open(target, path)?, progress: Instant::now() })
    }

    /// What comes within `wait`, acked and its credit given back.
    fn read(&mut self, tally: &Mutex<StreamTally>, wait: Duration) -> Result<Vec<(Mark, u64)>, Broken> {
        let (mut came, mut acks, mut epoch) = (Vec::new(), Vec::new(), None);
        let mut wrongs = Vec::new();
        self.socket.read(wait, |said| {
            if let Some(envelope) = &said.deliver {
                acks.push(said.seq);
                match envelope.mark() {
                    Some(mark) => came.push((mark, said.seq)),
                    None => wrongs.push((Wrong::Corrupted, format!("the message with seq {}", said.seq))),
                }
            } else if let Some(hello) = said.subscribed {
                epoch = Some(hello.epoch);
            } else if let Some(gap) = said.gap {
                wrongs.push((Wrong::Gap, format!("{} to {}", gap.from, gap.to)));
            } else if let Some(error) = &said.error {
                wrongs.push((Wrong::Refused, format!("a reader was told {}: {}", error.code, error.message)));
            }
        })?;
        if epoch.is_some() || !wrongs.is_empty() {
            let mut tally = lock(tally);
            epoch.into_iter().for_each(|epoch| tally.note_epoch(epoch));
            wrongs.iter().for_each(|(what, words)| tally.note_wrong(*what, words));
        }
        if !acks.is_empty() {
            self.progress = Instant::now();
            self.socket.queue(&format!(r#"{{"ack":{acks:?}}}"#));
            self.socket.queue(&format!(r#"{{"credit":{}}}"#, acks.len()));
            self.socket.flush()?;
        }
        Ok(came)
    }
}
