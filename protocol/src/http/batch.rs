//! `application/x-ndjson` bodies: many publishes, one answer. Lines are answered in any order and told in theirs.

use super::answers::TOKENS;
use crate::Encoding;
use crate::answer::{Answer, Receipt, Refusal};
use crate::codec;
use crate::error::{ErrorCode, Violation};
use crate::ids::{TenantId, Token};
use crate::limits::Limits;
use crate::trace_context::TraceContext;
use std::borrow::Cow;
use std::ops::Range;

/// Marks the tokens of lines.
const LINE_TOKEN: u32 = 0x8000_0000;

/// One batch, from its complete body to its last answer.
#[derive(Debug)]
pub(super) struct Batch {
    body: Vec<u8>,
    /// Where the next line begins.
    at: usize,
    /// The request.
    token: Token,
    /// The trace of the request: that of every line which names none.
    pub(super) trace: Option<TraceContext>,
    /// On whose behalf all of it is published.
    pub(super) tenant: TenantId,
    pub(super) results: Results,
}

/// What has become of the lines.
#[derive(Debug)]
pub(super) struct Results {
    encoding: Encoding,
    /// The number of the first line's token.
    first: u32,
    /// By line: where its result lies in `encoded`; empty while it waits.
    lines: Vec<Range<usize>>,
    encoded: Vec<u8>,
    unanswered: usize,
    accepted: usize,
    failed: usize,
    shortage: Shortage,
}

/// What the server lacked for lines that it could have stored at another time.
#[derive(Debug, Default)]
struct Shortage {
    /// Why the first of them failed.
    code: Option<ErrorCode>,
    /// Lines that failed for that reason.
    lines: usize,
    /// The longest wait that any of these was told.
    retry_after_ms: u32,
}

impl Shortage {
    fn note(&mut self, refusal: &Refusal<'_>) {
        let code = refusal.code;
        if !matches!(code, ErrorCode::Backpressure | ErrorCode::StorageFull | ErrorCode::StorageFailed) {
            return;
        }
        if *self.code.get_or_insert(code) == code {
            self.lines += 1;
            self.retry_after_ms = self.retry_after_ms.max(refusal.wait_ms().unwrap_or(0));
        }
    }
}

/// `token` names a line.
pub(super) const fn is_line(token: Token) -> bool {
    token.0 & LINE_TOKEN != 0
}

impl Batch {
    /// A batch of `body`; its answer goes to `token`, in `encoding`. The first line gets the token number `first`.
    ///
    /// # Errors
    /// `PayloadTooLarge` for more lines than the limit.
    pub(super) fn new(
        body: Vec<u8>,
        token: Token,
        encoding: Encoding,
        first: u32,
        limits: &Limits,
    ) -> Result<Self, Violation> {
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        if lines > limits.batch_lines_max {
            let message = format!("{lines} lines are more than {}: split the batch", limits.batch_lines_max);
            return Err(Violation::new(ErrorCode::PayloadTooLarge, message));
        }
        let results = Results {
            encoding,
            first,
            lines: Vec::with_capacity(lines),
            encoded: Vec::new(),
            unanswered: 0,
            accepted: 0,
            failed: 0,
            shortage: Shortage::default(),
        };
        Ok(Self { body, at: 0, token, trace: None, tenant: TenantId::DEFAULT, results })
    }

    /// The request that the batch answers.
    pub(super) const fn token(&self) -> Token {
        self.token
    }

    /// All lines have been handed out.
    pub(super) fn is_dispatched(&self) -> bool {
        self.at >= self.body.len()
    }

    /// All lines have been handed out and answered.
    pub(super) fn is_finished(&self) -> bool {
        self.is_dispatched() && self.results.unanswered == 0
    }

    /// The token number that comes after those of this batch.
    pub(super) fn next_first(&self) -> u32 {
        self.results.number(self.results.lines.len())
    }

    /// The next line that is not blank. `None`: there is none.
    pub(super) fn next_line(&mut self) -> Option<(Token, Range<usize>)> {
        while !self.is_dispatched() {
            let start = self.at;
            let end = memchr::memchr(b'\n', &self.body[start..]).map_or(self.body.len(), |length| start + length);
            self.at = end + 1;
            if !self.body[start..end].trim_ascii().is_empty() {
                return Some((self.results.wait(), start..end));
            }
        }
        None
    }

    /// The bytes of a line, and where its result goes.
    pub(super) fn line_mut(&mut self, line: Range<usize>) -> (&[u8], &mut Results) {
        (&self.body[line], &mut self.results)
    }
}

impl Results {
    fn number(&self, line: usize) -> u32 {
        ((u64::from(self.first) + line as u64) % u64::from(TOKENS)) as u32
    }

    /// Makes room for the result of one more line.
    fn wait(&mut self) -> Token {
        let token = Token(self.number(self.lines.len()) | LINE_TOKEN);
        self.lines.push(0..0);
        self.unanswered += 1;
        token
    }

    /// Lines handed out and not answered.
    pub(super) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Keeps the answer to one line. An answer that nobody waits for is ignored.
    pub(super) fn answer(&mut self, token: Token, answer: &Answer<'_>) {
        let number = token.0 & !LINE_TOKEN;
        let line = (u64::from(number) + u64::from(TOKENS) - u64::from(self.first)) % u64::from(TOKENS);
        let Some(result) = self.lines.get_mut(line as usize).filter(|result| result.start == result.end) else {
            return;
        };
        let start = self.encoded.len();
        match answer {
            &Answer::Published { id, stream, seq, promise, duplicate } => {
                self.accepted += 1;
                let receipt = Receipt { id, stream, seq, promise, duplicate };
                codec::encode_published(self.encoding, &receipt, &mut self.encoded);
            }
            Answer::Refused(refusal) => {
                self.failed += 1;
                self.shortage.note(refusal);
                codec::encode_error(self.encoding, refusal, None, &mut self.encoded);
            }
            Answer::Subscribed(_)
            | Answer::Stream(_)
            | Answer::Stats(_)
            | Answer::Granted
            | Answer::Document { .. } => {
                self.failed += 1;
                let message = Cow::Borrowed("the line got an answer of another kind");
                let refusal = Refusal { code: ErrorCode::Internal, message, retry_after_ms: None };
                codec::encode_error(self.encoding, &refusal, None, &mut self.encoded);
            }
        }
        *result = start..self.encoded.len();
        self.unanswered -= 1;
    }

    /// Keeps the refusal of a line that did not decode.
    pub(super) fn refuse(&mut self, token: Token, violation: Violation) {
        let refusal = Refusal { code: violation.code, message: violation.message, retry_after_ms: None };
        self.answer(token, &Answer::Refused(refusal));
    }

    /// 200, and the results say the rest. But when every line failed for one and the same want of room (429, 507) or of a
    /// disk (503), the status of that.
    pub(super) fn status(&self) -> u16 {
        match self.shortage.code {
            Some(code) if self.accepted == 0 && self.shortage.lines == self.failed => code.http_status(),
            _ => 200,
        }
    }

    /// When to send the lines again, if none was stored and it makes sense to.
    pub(super) fn retry_after_ms(&self) -> Option<u32> {
        let is_refusal = self.status() != 200 && self.shortage.code != Some(ErrorCode::StorageFailed);
        is_refusal.then_some(self.shortage.retry_after_ms)
    }

    /// Bytes of all results.
    pub(super) const fn encoded_bytes(&self) -> usize {
        self.encoded.len()
    }

    /// Appends `{"accepted":n,"failed":m,"results":[...]}`.
    pub(super) fn write_body(&self, encoding: Encoding, out: &mut Vec<u8>) {
        match encoding {
            Encoding::Json => {
                let mut number = itoa::Buffer::new();
                out.extend_from_slice(b"{\"accepted\":");
                out.extend_from_slice(number.format(self.accepted).as_bytes());
                out.extend_from_slice(b",\"failed\":");
                out.extend_from_slice(number.format(self.failed).as_bytes());
                out.extend_from_slice(b",\"results\":[");
                for (index, line) in self.lines.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&self.encoded[line.clone()]);
                }
                out.extend_from_slice(b"]}");
            }
            Encoding::MessagePack => {
                // Writing to memory does not fail.
                let _ = rmp::encode::write_map_len(out, 3);
                let _ = rmp::encode::write_str(out, "accepted");
                let _ = rmp::encode::write_uint(out, self.accepted as u64);
                let _ = rmp::encode::write_str(out, "failed");
                let _ = rmp::encode::write_uint(out, self.failed as u64);
                let _ = rmp::encode::write_str(out, "results");
                let _ = rmp::encode::write_array_len(out, self.lines.len() as u32);
                for line in &self.lines {
                    out.extend_from_slice(&self.encoded[line.clone()]);
                }
            }
        }
    }
}
