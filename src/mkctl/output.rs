//! Everything the client prints. Standard output is for results, standard error for remarks.

use crate::failure::Failure;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// Results on standard output, buffered; remarks on standard error.
pub(crate) struct Output {
    /// Results are for machines: one JSON value a line.
    pub(crate) json: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: BufWriter::new(io::stdout()) }
    }

    /// Results are read by a person.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Remarks are read by a person.
    pub(crate) fn remarks_are_read(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// One line of a result.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Part of a result, as it is.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(closed)
    }

    /// A JSON value: on one line for machines, spread out for people.
    pub(crate) fn value(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        // A value of text keys always has a JSON form.
        let text = if self.json || !self.is_terminal() { value.to_string() } else { format!("{value:#}") };
        self.line(&text)
    }

    /// Rows of name and figure, the figures in one column.
    pub(crate) fn rows(&mut self, rows: &[(&str, String)]) -> Result<(), Failure> {
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, figure) in rows {
            self.line(&format!("{name:<width$}  {figure}"))?;
        }
        Ok(())
    }

    /// A table: the first column on the left, the others on the right.
    pub(crate) fn table<const N: usize>(
        &mut self,
        titles: &[&str; N],
        rows: impl Iterator<Item = [String; N]>,
    ) -> Result<(), Failure> {
        self.table_with_tenants(titles, rows.map(|row| (row, None::<&str>)))
    }

    /// The same, with a second column that says whose each row is, where somebody's is a tenant's. `None`, an empty name, and
    /// `default`: nobody's.
    pub(crate) fn table_with_tenants<'t, const N: usize>(
        &mut self,
        titles: &[&str; N],
        rows: impl Iterator<Item = ([String; N], Option<&'t str>)>,
    ) -> Result<(), Failure> {
        let rows: Vec<_> = rows.collect();
        let has_tenants = rows.iter().any(|(_, tenant)| tenant.is_some_and(is_tenant));
        let with_tenant = |row: [String; N], tenant: &str| {
            let mut cells = row.to_vec();
            if has_tenants {
                cells.insert(1, printable(tenant));
            }
            cells
        };
        let mut lines = vec![with_tenant(titles.map(str::to_owned), "tenant")];
        let whose = |tenant: Option<&'t str>| tenant.filter(|tenant| is_tenant(tenant)).unwrap_or(NOBODY);
        lines.extend(rows.into_iter().map(|(row, tenant)| with_tenant(row, whose(tenant))));
        let width = |column: usize| lines.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
        for row in &lines {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &if at == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Hands what was printed to the reader.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(closed)
    }

    /// A remark: nothing that a script would read.
    pub(crate) fn remark(&mut self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// A remark that replaces the one before it on a terminal.
    pub(crate) fn progress(&mut self, text: &str) {
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
    }

    /// Why the command failed.
    pub(crate) fn complain(&mut self, text: &str) {
        let _ = self.out.flush();
        let _ = writeln!(io::stderr(), "mkctl: {text}");
    }
}

/// What the server calls those who have no tenant.
pub(crate) const NOBODY: &str = "default";

/// The name is that of a tenant.
pub(crate) fn is_tenant(name: &str) -> bool {
    !name.is_empty() && name != NOBODY
}

/// Whatever keeps us from printing, there is nobody left to tell it to.
fn closed(_: io::Error) -> Failure {
    Failure::OutputClosed
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate or a time: few digits when large, more when small.
pub(crate) fn measure(number: f64) -> String {
    match number.abs() {
        at_least if at_least >= 1_000.0 => grouped(number.round() as u64),
        at_least if at_least >= 100.0 => format!("{number:.0}"),
        at_least if at_least >= 10.0 => format!("{number:.1}"),
        0.0 => "0".to_owned(),
        below if below < 1.0 => format!("{number:.3}"),
        _ => format!("{number:.2}"),
    }
}

/// Seconds for people: `3d 4h`, `5m 12s`.
pub(crate) fn age(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Text of a message or a name, with everything that could move a terminal's cursor made visible.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(measure(1_234_567.4), "1,234,567");
        assert_eq!(measure(0.1234), "0.123");
        assert_eq!(measure(12.34), "12.3");
        assert_eq!(measure(0.0), "0");
        assert_eq!(
            (age(59), age(312), age(7_260), age(273_600)),
            ("59s".into(), "5m 12s".into(), "2h 1m".into(), "3d 4h".into())
        );
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("grün"), "grün");
    }
}
