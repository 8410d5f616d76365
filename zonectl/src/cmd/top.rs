//! `zonectl top`

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line as Words;
use ratatui::widgets::{Block, Row, Sparkline, Table, TableState};
use ratatui::{DefaultTerminal, Frame};
use zone_api::stat::{Line, Report, Sample};
use zone_api::{ApiError, ErrorKind};

use super::stat::{bytes, percent};
use super::{Context, Done};

/// Values that the graphs show.
const HISTORY: usize = 240;

/// Watch what zones use, with graphs of the one that is chosen
///
/// Keys: c, m, p, i, n sort by CPU, memory, processes, disks, name; r turns the order round; arrows choose; q leaves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl top
  zonectl top -d 0.5")]
pub(crate) struct Args {
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0)]
    delay: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Cpu,
    Memory,
    Processes,
    Disks,
    Name,
}

#[derive(Debug)]
struct View {
    report: Report,
    by: By,
    turned: bool,
    chosen: Option<String>,
    /// CPU in thousandths of a CPU, and bytes of memory, newest last.
    history: BTreeMap<String, (VecDeque<u64>, VecDeque<u64>)>,
    colour: bool,
    trouble: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    if context.output.is_json() || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let error = ApiError::new(ErrorKind::Invalid, "top", "it needs a terminal");
        return Err(error.hint("zonectl stat 1 prints the same figures, also as --json").into());
    }
    let delay = Duration::try_from_secs_f64(args.delay).ok().filter(|d| *d >= Duration::from_millis(50));
    let Some(delay) = delay else {
        return Err(ApiError::new(ErrorKind::Invalid, "top", "the shortest delay is 0.05 seconds").into());
    };
    let first = context.client.stat(&[])?;
    let ended = catch_ends().map_err(|e| failed(&e))?;
    // Puts the terminal back in a panic, too.
    let mut terminal = ratatui::try_init().map_err(|e| failed(&e))?;
    let result = watch(&mut terminal, context, first, delay, &ended);
    ratatui::restore();
    result.map_err(|e| failed(&e))?;
    Ok(if ended.load(Ordering::SeqCst) { 143 } else { 0 })
}

fn failed(error: &io::Error) -> ApiError {
    ApiError::new(ErrorKind::Failed, "use the terminal", error.to_string())
}

/// SIGTERM and SIGHUP become a flag: a thread of its own waits for them, so that the terminal is put back.
fn catch_ends() -> io::Result<Arc<AtomicBool>> {
    let set: SigSet = [Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    set.thread_block()?;
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    std::thread::spawn(move || {
        if set.wait().is_ok() {
            flag.store(true, Ordering::SeqCst);
        }
    });
    Ok(ended)
}

fn watch(
    terminal: &mut DefaultTerminal,
    context: &Context<'_>,
    mut before: Sample,
    delay: Duration,
    ended: &AtomicBool,
) -> io::Result<()> {
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let mut view = View::new(Report::between(None, &before), colour);
    let mut next = Instant::now() + delay;
    while !ended.load(Ordering::SeqCst) {
        terminal.draw(|frame| view.draw(frame))?;
        let left = next.saturating_duration_since(Instant::now());
        if event::poll(left.min(Duration::from_millis(100)))? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let interrupt =
                        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if interrupt || !view.key(key.code) {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        if Instant::now() >= next {
            match context.client.stat(&[]) {
                Ok(now) => {
                    view.take(Report::between(Some(&before), &now));
                    before = now;
                }
                Err(error) => view.trouble = Some(error.to_string()),
            }
            next = Instant::now() + delay;
        }
    }
    Ok(())
}

impl View {
    fn new(report: Report, colour: bool) -> Self {
        let mut view = Self {
            report: Report::default(),
            by: By::Cpu,
            turned: false,
            chosen: None,
            history: BTreeMap::new(),
            colour,
            trouble: None,
        };
        view.take(report);
        view
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "heights of a graph")]
    fn take(&mut self, report: Report) {
        self.history.retain(|name, _| report.zones.iter().any(|zone| zone.name == *name));
        for zone in &report.zones {
            let (cpu, memory) = self.history.entry(zone.name.clone()).or_default();
            cpu.push_back((zone.cpu.used.unwrap_or(0.0) * 1000.0) as u64);
            memory.push_back(zone.memory.used.unwrap_or(0.0) as u64);
            for values in [cpu, memory] {
                while values.len() > HISTORY {
                    values.pop_front();
                }
            }
        }
        self.report = report;
        self.trouble = None;
        self.sort();
    }

    fn sort(&mut self) {
        let by = self.by;
        let value = |line: &Line| match by {
            By::Cpu => line.cpu.used,
            By::Memory => line.memory.used,
            By::Processes => line.lwps.used,
            By::Disks => line.read.zip(line.written).map(|(read, written)| read + written),
            By::Name => None,
        };
        let zones = &mut self.report.zones;
        zones.sort_by(|a, b| {
            let (a_value, b_value) = (value(a).unwrap_or(-1.0), value(b).unwrap_or(-1.0));
            b_value.total_cmp(&a_value).then_with(|| a.name.cmp(&b.name))
        });
        if self.turned {
            zones.reverse();
        }
        if self.at().is_none() {
            self.chosen = self.report.zones.first().map(|zone| zone.name.clone());
        }
    }

    /// Row of the zone that is chosen.
    fn at(&self) -> Option<usize> {
        self.report.zones.iter().position(|zone| Some(&zone.name) == self.chosen.as_ref())
    }

    /// False to leave.
    fn key(&mut self, key: KeyCode) -> bool {
        let at = self.at().unwrap_or(0);
        let by = match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') => Some(By::Cpu),
            KeyCode::Char('m') => Some(By::Memory),
            KeyCode::Char('p') => Some(By::Processes),
            KeyCode::Char('i') => Some(By::Disks),
            KeyCode::Char('n') => Some(By::Name),
            _ => None,
        };
        let to = match key {
            KeyCode::Down | KeyCode::Char('j') => at + 1,
            KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
            _ => at,
        };
        if let Some(zone) = self.report.zones.get(to) {
            self.chosen = Some(zone.name.clone());
        }
        self.turned ^= key == KeyCode::Char('r');
        self.by = by.unwrap_or(self.by);
        self.sort();
        true
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let graph = if area.height >= 16 { 6 } else { 0 };
        let parts =
            [Constraint::Length(1), Constraint::Min(1), Constraint::Length(graph), Constraint::Length(1)];
        let [top, middle, graphs, bottom] = Layout::vertical(parts).areas(area);
        let total = &self.report.total;
        let text = format!(
            "{} zones  CPU {}%  memory {} ({}%)  swap {}",
            self.report.zones.len(),
            percent(total.cpu.of_host),
            bytes(total.memory.used),
            percent(total.memory.of_host),
            bytes(total.swap.used)
        );
        frame.render_widget(Words::raw(self.trouble.clone().unwrap_or(text)), top);
        let mark = |by: By, name: &str| if self.by == by { format!("{name}*") } else { name.to_owned() };
        let head = [
            mark(By::Name, "ZONE"),
            mark(By::Cpu, "CPU"),
            "%CAP".to_owned(),
            mark(By::Memory, "MEM"),
            "%CAP".to_owned(),
            mark(By::Processes, "LWP"),
            mark(By::Disks, "READ/s"),
            "WRITE/s".to_owned(),
            "RECV/s".to_owned(),
            "SENT/s".to_owned(),
        ];
        let widths = [18, 6, 6, 7, 6, 6, 8, 8, 8, 8];
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let table = Table::new(self.report.zones.iter().map(|zone| self.row(zone)), widths)
            .header(Row::new(head).style(bold))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let mut state = TableState::default().with_selected(self.at());
        frame.render_stateful_widget(table, middle, &mut state);
        if let Some((cpu, memory)) = self.chosen.as_ref().and_then(|name| self.history.get(name)) {
            let halves = [Constraint::Percentage(50), Constraint::Percentage(50)];
            let [left, right] = Layout::horizontal(halves).areas(graphs);
            for (area, what, values) in [(left, "CPU", cpu), (right, "memory", memory)] {
                let fit = usize::from(area.width.saturating_sub(2)).min(values.len());
                let values: Vec<u64> = values.iter().skip(values.len() - fit).copied().collect();
                let title = format!("{what} of {}", self.chosen.as_deref().unwrap_or_default());
                let style = if self.colour { Style::new().fg(Color::Green) } else { Style::new() };
                let graph =
                    Sparkline::default().block(Block::bordered().title(title)).data(values).style(style);
                frame.render_widget(graph, area);
            }
        }
        let keys = "q quit  sort: c cpu m mem p lwps i io n name  r reverse  up/down choose";
        frame.render_widget(Words::styled(keys, Style::new().add_modifier(Modifier::REVERSED)), bottom);
    }

    fn row(&self, zone: &Line) -> Row<'static> {
        let full = [zone.cpu.of_cap, zone.memory.of_cap].into_iter().flatten().any(|percent| percent >= 95.0);
        let style = if full && self.colour { Style::new().fg(Color::Red) } else { Style::new() };
        let cells = [
            zone.name.clone(),
            zone.cpu.used.map_or_else(|| "-".to_owned(), |cpus| format!("{cpus:.2}")),
            percent(zone.cpu.of_cap),
            bytes(zone.memory.used),
            percent(zone.memory.of_cap),
            zone.lwps.used.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}")),
            bytes(zone.read),
            bytes(zone.written),
            bytes(zone.received),
            bytes(zone.sent),
        ];
        Row::new(cells).style(style)
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use zone_api::stat::Figure;

    use super::*;

    fn view() -> View {
        let figure = |used: f64| Figure { used: Some(used), ..Figure::default() };
        let line = |name: &str, cpu: f64, memory: f64| Line {
            name: name.to_owned(),
            cpu: figure(cpu),
            memory: figure(memory),
            ..Line::default()
        };
        let zones = vec![line("busy", 1.5, 100.0), line("fat", 0.1, 5e8), line("idle", 0.0, 1.0)];
        View::new(Report { zones, ..Report::default() }, false)
    }

    fn order(view: &View) -> Vec<&str> {
        view.report.zones.iter().map(|zone| zone.name.as_str()).collect()
    }

    #[test]
    fn keys_sort_choose_and_leave() {
        let mut view = view();
        assert_eq!(order(&view), ["busy", "fat", "idle"]);
        assert!(view.key(KeyCode::Char('m')));
        assert_eq!(order(&view), ["fat", "busy", "idle"]);
        assert!(view.key(KeyCode::Char('r')));
        assert_eq!(order(&view), ["idle", "busy", "fat"]);
        assert!(view.key(KeyCode::Down));
        assert_eq!(view.chosen.as_deref(), Some("fat"));
        assert!(!view.key(KeyCode::Char('q')));
    }

    #[test]
    fn it_draws_on_any_size() {
        for (width, height) in [(80, 24), (20, 5), (1, 1), (200, 60)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view().draw(frame)).unwrap();
            if width == 80 {
                let text = terminal.backend().to_string();
                assert!(
                    text.contains("busy") && text.contains("q quit") && text.contains("CPU of busy"),
                    "{text}"
                );
            }
        }
    }
}
