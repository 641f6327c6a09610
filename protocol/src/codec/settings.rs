//! The settings of streams and groups, as `PUT` brings them. Unlike a publish, where what is not known is left alone, a
//! member that is not known is an error here: a setting that does nothing would be believed to do something.

use super::reader::{Broken, Reader};
use crate::command::From;
use crate::error::{ErrorCode, Violation};
use crate::streams::{Durability, GroupSettings, Policy, Retention, StreamSettings};
use std::ops::RangeInclusive;

/// Longest time between a message's answer and its being on the disk.
const INTERVAL_MS_MAX: u64 = 60_000;

/// Longest window in which a repeated `dedupId` is recognised: a day.
const DEDUP_WINDOW_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// Bytes of a strange member's name that the complaint about it repeats.
const STRANGE_BYTES_MAX: usize = 64;

/// Reads the settings of a stream, all of the input.
///
/// # Errors
/// `InvalidJson`, `DecodeError`, `DepthExceeded`; `InvalidField`, which names the member.
pub(super) fn stream<'a, R: Reader<'a>>(reader: &mut R) -> Result<StreamSettings, Violation> {
    let mut walk = SettingsWalk { reader, wrong: None };
    let settings = walk.stream();
    walk.finish(settings)
}

/// Reads the settings of a group and where a new one begins, all of the input.
///
/// # Errors
/// As [`stream`].
pub(super) fn group<'a, R: Reader<'a>>(reader: &mut R) -> Result<(From, GroupSettings), Violation> {
    let mut walk = SettingsWalk { reader, wrong: None };
    let settings = walk.group();
    walk.finish(settings)
}

/// A walk over settings, and the first thing that was wrong. The walk goes on after it: what is no valid value is told
/// as that, and not as a wrong field.
struct SettingsWalk<'r, R> {
    reader: &'r mut R,
    wrong: Option<Violation>,
}

impl<'a, R: Reader<'a>> SettingsWalk<'_, R> {
    /// What the walk came to.
    fn finish<T>(self, settings: Result<T, Broken>) -> Result<T, Violation> {
        let settings = settings.and_then(|settings| self.reader.finish().map(|()| settings));
        match (settings, self.wrong) {
            (Err(broken), _) => Err(self.reader.violation(broken)),
            (Ok(_), Some(wrong)) => Err(wrong),
            (Ok(settings), None) => Ok(settings),
        }
    }

    #[cold]
    fn complain(&mut self, message: String) {
        if self.wrong.is_none() {
            self.wrong = Some(Violation::new(ErrorCode::InvalidField, message));
        }
    }

    /// Passes over the value of a member that does not exist.
    #[cold]
    fn refuse_strange(&mut self, place: &str, name: &[u8]) -> Result<(), Broken> {
        let name = String::from_utf8_lossy(name);
        let cut = &name[..name.floor_char_boundary(STRANGE_BYTES_MAX)];
        self.complain(format!("{place} has no member `{cut}`"));
        self.reader.skip()
    }

    /// Reads the member `name` into its place.
    fn put<T>(
        &mut self,
        place: &mut Option<T>,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<Option<T>, Broken>,
    ) -> Result<(), Broken> {
        let value = read(self, name)?;
        if place.is_some() {
            self.complain(format!("`{name}` appears twice"));
        }
        *place = value.or(place.take());
        Ok(())
    }

    fn integer(&mut self, name: &str, allowed: RangeInclusive<u64>) -> Result<Option<u64>, Broken> {
        let value = self.reader.unsigned()?;
        if value.is_none() {
            self.reader.skip()?;
        }
        let value = value.filter(|value| allowed.contains(value));
        if value.is_none() {
            let (min, max) = (allowed.start(), allowed.end());
            self.complain(match *max {
                u64::MAX => format!("`{name}` must be an integer of at least {min}"),
                max => format!("`{name}` must be an integer of {min} to {max}"),
            });
        }
        Ok(value)
    }

    fn count(&mut self, name: &str) -> Result<Option<u32>, Broken> {
        Ok(self.integer(name, 0..=u64::from(u32::MAX))?.and_then(|count| u32::try_from(count).ok()))
    }

    fn boolean(&mut self, name: &str) -> Result<Option<bool>, Broken> {
        let value = self.reader.boolean()?;
        if value.is_none() {
            self.reader.skip()?;
            self.complain(format!("`{name}` must be true or false"));
        }
        Ok(value)
    }

    /// Reads a text that has a meaning.
    fn word<T>(
        &mut self,
        name: &str,
        wanted: &str,
        meaning: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Broken> {
        let text = self.reader.text()?;
        if text.is_none() {
            self.reader.skip()?;
        }
        let value = text.and_then(|text| meaning(&text));
        if value.is_none() {
            self.complain(format!("`{name}` must be {wanted}"));
        }
        Ok(value)
    }

    fn stream(&mut self) -> Result<StreamSettings, Broken> {
        let mut settings = StreamSettings::default();
        let Some(mut members) = self.reader.members()? else { return self.refuse_shape().map(|()| settings) };
        while let Some(key) = self.reader.next_key(&mut members)? {
            match key {
                b"retention" => self.put(&mut settings.retention, "retention", Self::retention)?,
                b"durability" => self.put(&mut settings.durability, "durability", Self::durability)?,
                b"maxMessages" => {
                    self.put(&mut settings.max_messages, "maxMessages", |walk, name| walk.integer(name, 1..=u64::MAX))?;
                }
                b"maxBytes" => {
                    self.put(&mut settings.max_bytes, "maxBytes", |walk, name| walk.integer(name, 1..=u64::MAX))?;
                }
                b"maxDeliver" => self.put(&mut settings.max_deliver, "maxDeliver", Self::count)?,
                b"deadLetterExpired" => {
                    self.put(&mut settings.dead_letter_expired, "deadLetterExpired", Self::boolean)?;
                }
                b"dedupWindowMs" => {
                    self.put(&mut settings.dedup_window_ms, "dedupWindowMs", |walk, name| {
                        walk.integer(name, 0..=DEDUP_WINDOW_MS_MAX)
                    })?;
                }
                strange => self.refuse_strange("a stream", strange)?,
            }
        }
        Ok(settings)
    }

    fn retention(&mut self, name: &str) -> Result<Option<Retention>, Broken> {
        let Some(mut members) = self.reader.members()? else {
            self.complain(format!("`{name}` must be an object"));
            return self.reader.skip().map(|()| None);
        };
        let (mut policy, mut max_age_ms, mut max_bytes, mut max_messages) = (None, None, None, None);
        while let Some(key) = self.reader.next_key(&mut members)? {
            let any = 0..=u64::MAX;
            match key {
                b"policy" => self.put(&mut policy, "retention.policy", |walk, name| {
                    walk.word(name, "\"work\" or \"log\"", |text| match text {
                        "work" => Some(Policy::Work),
                        "log" => Some(Policy::Log),
                        _ => None,
                    })
                })?,
                b"maxAgeMs" => self.put(&mut max_age_ms, "retention.maxAgeMs", |walk, name| walk.integer(name, any))?,
                b"maxBytes" => self.put(&mut max_bytes, "retention.maxBytes", |walk, name| walk.integer(name, any))?,
                b"maxMessages" => {
                    self.put(&mut max_messages, "retention.maxMessages", |walk, name| walk.integer(name, any))?;
                }
                strange => self.refuse_strange("`retention`", strange)?,
            }
        }
        let retention = Retention {
            policy: policy.unwrap_or_default(),
            max_age_ms: max_age_ms.unwrap_or(0),
            max_bytes: max_bytes.unwrap_or(0),
            max_messages: max_messages.unwrap_or(0),
        };
        self.check_retention(retention);
        Ok(Some(retention))
    }

    /// What a work queue keeps goes by its acks, so ages and amounts would mean nothing.
    fn check_retention(&mut self, retention: Retention) {
        let Retention { policy, max_age_ms, max_bytes, max_messages } = retention;
        let members = [("maxAgeMs", max_age_ms), ("maxBytes", max_bytes), ("maxMessages", max_messages)];
        if policy == Policy::Work
            && let Some((name, _)) = members.into_iter().find(|(_, value)| *value > 0)
        {
            self.complain(format!("`retention.{name}` needs `\"policy\":\"log\"` beside it"));
        }
    }

    fn durability(&mut self, name: &str) -> Result<Option<Durability>, Broken> {
        const WANTED: &str = "\"commit\", \"memory\" or {\"interval\":milliseconds}";
        let Some(mut members) = self.reader.members()? else {
            return self.word(name, WANTED, |text| match text {
                "commit" => Some(Durability::Commit),
                "memory" => Some(Durability::Memory),
                _ => None,
            });
        };
        let mut interval_ms = None;
        while let Some(key) = self.reader.next_key(&mut members)? {
            match key {
                b"interval" => self.put(&mut interval_ms, "durability.interval", |walk, name| {
                    walk.integer(name, 1..=INTERVAL_MS_MAX)
                })?,
                strange => self.refuse_strange("`durability`", strange)?,
            }
        }
        if interval_ms.is_none() {
            self.complain(format!("`{name}` must be {WANTED}"));
        }
        Ok(interval_ms.map(Durability::Interval))
    }

    fn group(&mut self) -> Result<(From, GroupSettings), Broken> {
        const FROM: &str = "\"first\", \"new\", \"seq:N\", \"time:RFC3339\" or \"last:N\"";
        let (mut from, mut settings) = (None, GroupSettings::default());
        let Some(mut members) = self.reader.members()? else {
            return self.refuse_shape().map(|()| (From::default(), settings));
        };
        while let Some(key) = self.reader.next_key(&mut members)? {
            match key {
                b"from" => self.put(&mut from, "from", |walk, name| walk.word(name, FROM, From::parse))?,
                b"ackWaitMs" => {
                    self.put(&mut settings.ack_wait_ms, "ackWaitMs", |walk, name| walk.integer(name, 1..=u64::MAX))?;
                }
                b"maxDeliver" => self.put(&mut settings.max_deliver, "maxDeliver", Self::count)?,
                strange => self.refuse_strange("a group", strange)?,
            }
        }
        Ok((from.unwrap_or_default(), settings))
    }

    /// Passes over a value that is no object.
    fn refuse_shape(&mut self) -> Result<(), Broken> {
        self.complain("the body must be an object of settings".to_owned());
        self.reader.skip()
    }
}
