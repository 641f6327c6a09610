//! Every bound of rules in one place. A limit is inclusive. Past one of the compiler's, the file is refused as a whole; past
//! one of the evaluation's, the request is answered with the error that stands beside it.

/// Bytes of a rules file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Rules in a file, those of all tenants included.
pub const RULES_MAX: usize = 4_096;
/// Tenants with rules of their own.
pub const TENANTS_MAX: usize = 1_024;
/// Conditions, values or brackets inside each other.
pub const NESTING_MAX: usize = 16;
/// Members of a list or mapping in a rule.
pub const MEMBERS_MAX: usize = 1_024;
/// Bytes of a text in a rule.
pub const TEXT_BYTES_MAX: usize = 16 * 1_024;
/// Bytes of a pattern between slashes.
pub const REGEX_BYTES_MAX: usize = 1_024;
/// Bytes that a compiled pattern may take: bounds what counted repetitions blow up.
pub const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Bytes of a `where` expression.
pub const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Bytes of a rule's `id`.
pub const ID_BYTES_MAX: usize = 128;
/// Frames of one `onComplete`.
pub const THEN_MAX: usize = 4;
/// Bytes that one evaluation may copy into values and answers. More: 413 `PayloadTooLarge`, since what a rule repeats is
/// nearly always the body.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Bytes of memory that the value of a body or message may take, counted as it is built: about 72 for each value and 40 for each
/// name, and the texts. More: 400 `DecodedSizeExceeded`.
pub const BODY_VALUE_BYTES_MAX: usize = 16 << 20;
/// Bytes of values that one connection's rules may keep while the broker is asked. At the limit no more of it is read until the
/// broker answers; one request may be on top of it.
pub const KEPT_BYTES_MAX: usize = 1 << 20;
/// Bytes of a header field that a rule sets. More: it is cut.
pub const HEADER_BYTES_MAX: usize = 4_096;
