//! `sub` takes messages and acks them; `tail` shows messages and gives them back.

use crate::address::{Server, query_value};
use crate::command_line::{Codec, Sub, Tail};
use crate::failure::Failure;
use crate::output::{Output, printable};
use crate::socket::{Delivery, DrainNotice, Incoming, Notice, Socket};
use conduit_protocol::streams::{Gap, Subscribed};
use serde_json::json;
use std::time::{Duration, Instant};

/// Acks wait for company, but not longer than this.
const ACK_WAIT: Duration = Duration::from_millis(20);

/// Acks that make a frame worth sending at once.
const ACK_BATCH: usize = 64;

/// Takes messages, prints each, and acks what was printed.
pub(crate) fn subscribe(server: &Server, asked: &Sub, out: &mut Output) -> Result<(), Failure> {
    let path = subscribe_path(&asked.stream, asked.codec) + &asked.parameters();
    let mut socket = Socket::open(server, &path, asked.codec)?;
    let mut window = Window::new(asked.credit, asked.count);
    grant(&mut socket, window.open())?;

    let mut printed: Vec<u64> = Vec::new();
    let mut last_message = Instant::now();
    while !window.is_done() {
        let idle = asked.idle_ms.map(|ms| Duration::from_millis(ms).saturating_sub(last_message.elapsed()));
        let wait = if printed.is_empty() { idle } else { Some(idle.map_or(ACK_WAIT, |idle| idle.min(ACK_WAIT))) };
        match socket.read(wait)? {
            Incoming::Delivery(delivery) => {
                print(&delivery, out)?;
                printed.push(delivery.seq);
                window.take();
                last_message = Instant::now();
                if printed.len() >= ACK_BATCH.min(asked.credit as usize) || window.is_done() {
                    settle(&mut socket, &mut printed, &mut window, asked.no_ack, out)?;
                }
            }
            Incoming::Notice(notice) => tell(&notice, out)?,
            Incoming::Nothing if printed.is_empty() => break,
            Incoming::Nothing => settle(&mut socket, &mut printed, &mut window, asked.no_ack, out)?,
        }
    }
    socket.close()
}

/// Shows the next messages and gives all of them back at the end.
pub(crate) fn tail(server: &Server, asked: &Tail, out: &mut Output) -> Result<(), Failure> {
    if out.remarks_are_read() {
        out.remark(
            "tail takes up to --count messages from the stream while it shows them, and gives them back when it ends;",
        );
        out.remark("their attempt count rises by one. Other consumers do not get them meanwhile.");
    }
    let mut socket = Socket::open(server, &subscribe_path(&asked.stream, Codec::Json), Codec::Json)?;
    // Exactly this much credit and no refill: what has been given back cannot come again.
    grant(&mut socket, asked.count)?;
    let wait = if asked.follow { None } else { Some(Duration::from_millis(asked.idle_ms)) };
    let mut shown: Vec<u64> = Vec::new();
    while (shown.len() as u64) < asked.count {
        match socket.read(wait)? {
            Incoming::Delivery(delivery) => {
                print(&delivery, out)?;
                out.flush()?;
                shown.push(delivery.seq);
            }
            Incoming::Notice(notice) => tell(&notice, out)?,
            Incoming::Nothing => break,
        }
    }
    if !shown.is_empty() {
        socket.send(&json!({ "nack": shown }))?;
        socket.flush()?;
    }
    socket.close()
}

fn subscribe_path(stream: &str, codec: Codec) -> String {
    let codec = match codec {
        Codec::Json => "json",
        Codec::Msgpack => "msgpack",
    };
    format!("/v1/subscribe?stream={}&codec={codec}", query_value(stream))
}

fn grant(socket: &mut Socket, credit: u64) -> Result<(), Failure> {
    if credit > 0 {
        socket.send(&json!({ "credit": credit }))?;
        socket.flush()?;
    }
    Ok(())
}

/// Lets the reader have what was printed, then acks it, then opens the window again: a message is never acked before
/// its reader could have it.
fn settle(
    socket: &mut Socket,
    printed: &mut Vec<u64>,
    window: &mut Window,
    no_ack: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    out.flush()?;
    if !no_ack {
        socket.send(&json!({ "ack": printed }))?;
        socket.flush()?;
    }
    printed.clear();
    grant(socket, window.open())
}

/// Says where a subscription begins, or which messages are lost.
fn tell(notice: &Notice, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return out.value(&match notice {
            Notice::Subscribed(hello) => json!({ "subscribed": hello }),
            Notice::Gap(gap) => json!({ "gap": gap }),
            Notice::Drain(DrainNotice { retry_after_ms, alternates }) => {
                json!({ "drain": { "retryAfterMs": retry_after_ms, "alternates": alternates } })
            }
        });
    }
    match notice {
        Notice::Subscribed(hello) => {
            let group = if hello.group.is_empty() { "the default group".into() } else { printable(&hello.group) };
            let Subscribed { epoch, first, last, next, .. } = hello;
            out.line(&format!("epoch {epoch}, held from seq {first}, last seq {last}, {group} goes on with {next}"))?;
            out.flush()
        }
        Notice::Gap(Gap { from, to }) => {
            out.remark(&format!("lost on the server's disk: seqs {from} to {to}"));
            Ok(())
        }
        Notice::Drain(DrainNotice { retry_after_ms, alternates }) => {
            let elsewhere: String =
                alternates.iter().map(|address| format!(", or go to {}", printable(address))).collect();
            out.remark(&format!("the server is going away: connect again in {retry_after_ms} ms{elsewhere}"));
            Ok(())
        }
    }
}

fn print(delivery: &Delivery, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        let id = json!(delivery.id);
        let Delivery { deliver, seq, attempt, .. } = delivery;
        return out.line(&format!(r#"{{"deliver":{deliver},"id":{id},"seq":{seq},"attempt":{attempt}}}"#));
    }
    let again = if delivery.attempt > 1 { format!("  attempt {}", delivery.attempt) } else { String::new() };
    out.line(&format!("{}  {}{again}  {}", delivery.seq, printable(&delivery.id), printable(delivery.deliver.get())))
}

/// How much credit to grant: never more on its way than the window is wide, never more in all than was asked for.
#[derive(Debug)]
struct Window {
    width: u64,
    outstanding: u64,
    left: Option<u64>,
}

impl Window {
    const fn new(width: u64, count: Option<u64>) -> Self {
        Self { width, outstanding: 0, left: count }
    }

    /// The credit to grant now; it counts as granted.
    fn open(&mut self) -> u64 {
        let room = self.width.saturating_sub(self.outstanding);
        let wanted = self.left.map_or(room, |left| room.min(left.saturating_sub(self.outstanding)));
        self.outstanding += wanted;
        wanted
    }

    /// A message has come.
    fn take(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    /// Everything asked for has come.
    fn is_done(&self) -> bool {
        self.left == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_credit_is_granted_than_messages_were_asked_for() {
        let mut window = Window::new(4, Some(10));
        let mut granted = window.open();
        let mut taken = 0;
        while !window.is_done() {
            window.take();
            taken += 1;
            if taken % 3 == 0 || window.is_done() {
                granted += window.open();
            }
            assert!(granted - taken <= 4, "more than the window is on its way");
        }
        assert_eq!((taken, granted), (10, 10));
    }

    #[test]
    fn a_window_without_an_end_stays_open() {
        let mut window = Window::new(2, None);
        assert_eq!((window.open(), window.open()), (2, 0));
        window.take();
        assert_eq!(window.open(), 1);
        assert!(!window.is_done());
    }
}
