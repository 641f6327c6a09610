//! `top`: the dashboard, refreshed.

use crate::address::Server;
use crate::command_line::{Order, Top};
use crate::dashboard::{Dashboard, Row};
use crate::failure::Failure;
use crate::http::Client;
use crate::output::{NOBODY, Output, age, grouped, is_tenant, measure, printable};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize as _;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row as TableRow, Table};
use std::time::{Duration, Instant};

/// Runs until `q`, or prints one table where there is no terminal to refresh.
pub(crate) fn run(server: &Server, asked: &Top, out: &mut Output) -> Result<(), Failure> {
    let client = Client::new(server);
    let mut screen = Screen {
        address: server.authority(),
        order: asked.sort,
        scroll: 0,
        board: Dashboard::default(),
        trouble: None,
    };
    // The first look happens outside the screen: when it fails, the reason stays readable.
    screen.take(&client.json("/v1/metrics")?);
    if out.json {
        return out
            .value(&serde_json::json!({ "totals": screen.board.totals_json(), "streams": rows_json(&screen.board) }));
    }
    if asked.once || !out.is_terminal() {
        return print_once(&screen, out);
    }
    let mut terminal =
        ratatui::try_init().map_err(|error| Failure::Usage(format!("this terminal cannot be drawn on: {error}")))?;
    let done = refresh(&mut terminal, &client, &mut screen, Duration::from_millis(asked.interval_ms));
    ratatui::restore();
    done
}

fn refresh(
    terminal: &mut ratatui::DefaultTerminal,
    client: &Client,
    screen: &mut Screen,
    interval: Duration,
) -> Result<(), Failure> {
    let gone = |_| Failure::OutputClosed;
    let mut next = Instant::now() + interval;
    loop {
        terminal.draw(|frame| screen.draw(frame)).map_err(gone)?;
        if event::poll(next.saturating_duration_since(Instant::now())).map_err(gone)? {
            match event::read().map_err(gone)? {
                Event::Key(key) if key.is_press() && screen.press(key) => return Ok(()),
                _ => continue,
            }
        } else {
            // A server that restarts is worth waiting for: the trouble is shown, and the next look may go well.
            match client.json("/v1/metrics") {
                Ok(metrics) => screen.take(&metrics),
                Err(failure) => screen.trouble = Some(failure.to_string()),
            }
            next = Instant::now() + interval;
        }
    }
}

/// What is on the screen.
struct Screen {
    address: String,
    order: Order,
    scroll: usize,
    board: Dashboard,
    trouble: Option<String>,
}

impl Screen {
    fn take(&mut self, metrics: &serde_json::Value) {
        self.board = Dashboard::of(metrics);
        self.board.sort(self.order);
        self.trouble = None;
    }

    /// Takes a key; true when the user wants to leave.
    fn press(&mut self, key: KeyEvent) -> bool {
        let last = self.board.streams.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('r') => self.order = Order::Rate,
            KeyCode::Char('d') => self.order = Order::Depth,
            KeyCode::Char('l') => self.order = Order::Latency,
            KeyCode::Char('n') => self.order = Order::Name,
            KeyCode::Down | KeyCode::Char('j') => self.scroll = (self.scroll + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = (self.scroll + 20).min(last),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(20),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        self.board.sort(self.order);
        false
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(4), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head_lines()), head);
        self.draw_streams(frame, body);
        let foot_line = match &self.trouble {
            Some(trouble) => Line::from(printable(trouble)).red(),
            None => Line::from("q quit  sort: r rate  d depth  l latency  n name  scroll: up down").dim(),
        };
        frame.render_widget(foot_line, foot);
    }

    fn head_lines(&self) -> Vec<Line<'static>> {
        let totals = &self.board.totals;
        vec![
            Line::from(format!("conduit {}  up {}", self.address, age(totals.uptime_s))).bold(),
            Line::from(format!(
                "in {}/s  out {}/s  backlog {}  in flight {}",
                measure(totals.rate_in),
                measure(totals.rate_out),
                grouped(totals.depth),
                grouped(totals.inflight),
            )),
            Line::from(format!(
                "streams {}  consumers {}  WebSockets {}  delivery p50 {} ms  p99 {} ms  errors {}",
                grouped(self.board.streams.len() as u64),
                grouped(totals.consumers),
                grouped(totals.connections),
                measure(totals.delivery_p50_ms),
                measure(totals.delivery_p99_ms),
                grouped(totals.errors),
            )),
        ]
    }

    fn draw_streams(&self, frame: &mut Frame<'_>, area: Rect) {
        let has_tenants = self.board.has_tenants();
        let columns = columns(has_tenants);
        let width = |width: u16| if width == 0 { Constraint::Min(16) } else { Constraint::Length(width) };
        let visible = self.board.streams.iter().skip(self.scroll).take(area.height.into());
        let rows = visible.map(|row| TableRow::new(cells(row, has_tenants)));
        let table = Table::new(rows, columns.iter().map(|column| width(column.1)))
            .header(TableRow::new(columns.iter().map(|column| column.0)).reversed());
        frame.render_widget(table, area);
    }
}

/// Titles and widths of the columns; 0 takes what is left.
const COLUMNS: [(&str, u16); 10] = [
    ("stream", 0),
    ("in/s", 10),
    ("out/s", 10),
    ("backlog", 12),
    ("in flight", 10),
    ("p50 ms", 8),
    ("p99 ms", 8),
    ("ack p99", 8),
    ("consumers", 9),
    ("credit", 10),
];

/// The columns, with one that says whose each stream is where some are a tenant's.
fn columns(has_tenants: bool) -> Vec<(&'static str, u16)> {
    let mut columns = COLUMNS.to_vec();
    if has_tenants {
        columns.insert(1, ("tenant", 16));
    }
    columns
}

fn cells(row: &Row, has_tenants: bool) -> Vec<String> {
    let mut cells = vec![printable(&row.name)];
    if has_tenants {
        cells.push(if row.tenant.is_empty() { NOBODY.to_owned() } else { printable(&row.tenant) });
    }
    cells.extend([
        measure(row.rate_in),
        measure(row.rate_out),
        grouped(row.depth),
        grouped(row.inflight),
        measure(row.p50_ms),
        measure(row.p99_ms),
        measure(row.ack_p99_ms),
        grouped(row.consumers),
        grouped(row.credit),
    ]);
    cells
}

fn rows_json(board: &Dashboard) -> Vec<serde_json::Value> {
    let row = |row: &Row| {
        let mut value = serde_json::json!({
            "id": row.name, "rateIn": row.rate_in, "rateOut": row.rate_out, "depth": row.depth, "inflight": row.inflight,
            "latP50": row.p50_ms, "latP99": row.p99_ms, "ackP99": row.ack_p99_ms, "consumers": row.consumers,
            "credit": row.credit,
        });
        if is_tenant(&row.tenant) {
            value["tenant"] = row.tenant.as_str().into();
        }
        value
    };
    board.streams.iter().map(row).collect()
}

fn print_once(screen: &Screen, out: &mut Output) -> Result<(), Failure> {
    for line in screen.head_lines() {
        out.line(&line.to_string())?;
    }
    let name_width =
        screen.board.streams.iter().map(|row| printable(&row.name).chars().count()).max().unwrap_or(0).max(16);
    let has_tenants = screen.board.has_tenants();
    let columns = columns(has_tenants);
    let print = |cells: Vec<String>, out: &mut Output| {
        let mut line = format!("{:<name_width$}", cells[0]);
        for (cell, (_, width)) in cells.iter().zip(&columns).skip(1) {
            line.push_str(&format!("  {cell:>width$}", width = usize::from(*width)));
        }
        out.line(&line)
    };
    print(columns.iter().map(|(title, _)| (*title).to_owned()).collect(), out)?;
    screen.board.streams.iter().try_for_each(|row| print(cells(row, has_tenants), out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn screen(streams: usize) -> Screen {
        let streams: Vec<_> =
            (0..streams).map(|n| json!({"id": format!("s{n:03}"), "stats": {"depth": n, "rateIn": 1.5}})).collect();
        let mut screen =
            Screen { address: "h:1".into(), order: Order::Name, scroll: 0, board: Dashboard::default(), trouble: None };
        screen.take(&json!({ "streams": streams, "uptime": 5 }));
        screen
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a test terminal");
        terminal.draw(|frame| screen.draw(frame)).expect("drawn");
        terminal.backend().to_string()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> bool {
        screen.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn streams_and_totals_are_drawn() {
        let text = drawn(&screen(3), 130, 12);
        for part in ["h:1", "in 4.50/s", "s000", "s002", "backlog", "q quit"] {
            assert!(text.contains(part), "{part:?} is missing from\n{text}");
        }
    }

    #[test]
    fn streams_of_one_name_are_told_apart_by_their_tenants() {
        let mut screen = screen(1);
        assert!(!drawn(&screen, 150, 12).contains("tenant"));
        let stream = |tenant: &str| json!({"id": "jobs", "tenant": tenant, "stats": {}});
        screen.take(&json!({"streams": [stream("globex"), stream("acme"), {"id": "jobs", "stats": {}}]}));
        let text = drawn(&screen, 150, 12);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part:?} is missing from\n{text}"));
        assert!(at("tenant") < at("default") && at("default") < at("acme") && at("acme") < at("globex"));
    }

    #[test]
    fn any_size_of_terminal_can_be_drawn_on() {
        for (width, height) in [(1, 1), (3, 2), (40, 5), (300, 80)] {
            drawn(&screen(50), width, height);
        }
    }

    #[test]
    fn keys_sort_scroll_and_leave() {
        let mut screen = screen(3);
        press(&mut screen, KeyCode::Char('d'));
        assert_eq!(screen.board.streams[0].name, "s002");
        for _ in 0..9 {
            press(&mut screen, KeyCode::Down);
        }
        assert_eq!(screen.scroll, 2);
        press(&mut screen, KeyCode::Home);
        assert_eq!(screen.scroll, 0);
        assert!(!press(&mut screen, KeyCode::Char('x')) && press(&mut screen, KeyCode::Char('q')));
    }
}
