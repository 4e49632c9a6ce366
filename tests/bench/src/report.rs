//! Rows of results with their budgets, printed as they come and written into a page at the end.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use crate::Outcome;

/// The lines around a part of the page that is written by a run.
fn marks(part: &str) -> [String; 2] {
    ["begin", "end"].map(|which| format!("<!-- {part}: {which} -->"))
}

/// What a number may be at most.
#[derive(Clone, Copy)]
pub(crate) enum Budget {
    /// Reported for comparison; nothing to keep.
    None,
    /// This much, in the row's unit.
    AtMost(f64),
}

struct Row {
    what: String,
    measured: f64,
    unit: &'static str,
    budget: Budget,
}

impl Row {
    fn verdict(&self) -> String {
        match self.budget {
            Budget::None => String::new(),
            Budget::AtMost(most) if self.measured <= most => "met".to_owned(),
            Budget::AtMost(most) => format!("**missed** by {:.0} %", (self.measured / most - 1.0) * 100.0),
        }
    }

    fn budget(&self) -> String {
        match self.budget {
            Budget::None => String::new(),
            Budget::AtMost(most) => format!("<= {} {}", number(most), self.unit),
        }
    }
}

/// All results of a run.
#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<(&'static str, Vec<Row>, Vec<String>)>,
}

impl Report {
    /// Begins a table.
    pub(crate) fn table(&mut self, title: &'static str) {
        println!("\n{title}");
        self.tables.push((title, Vec::new(), Vec::new()));
    }

    /// Adds a row to the table begun last.
    pub(crate) fn row(&mut self, what: impl Into<String>, measured: f64, unit: &'static str, budget: Budget) {
        let row = Row { what: what.into(), measured, unit, budget };
        println!("  {:<64} {:>10} {:<6} {:<14} {}", row.what, number(measured), unit, row.budget(), row.verdict());
        if let Some((_, rows, _)) = self.tables.last_mut() {
            rows.push(row);
        }
    }

    /// Says under the table how it was measured.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        println!("  {note}");
        if let Some((_, _, notes)) = self.tables.last_mut() {
            notes.push(note);
        }
    }

    /// Replaces that part of a page.
    pub(crate) fn write_into(&self, file: &Path, part: &str) -> Outcome<()> {
        let page = fs::read_to_string(file)?;
        let [begin, end] = marks(part);
        let (before, rest) = page.split_once(&begin).ok_or_else(|| format!("the page has no part {part}"))?;
        let (_, after) = rest.split_once(&end).ok_or_else(|| format!("the page's part {part} does not end"))?;
        fs::write(file, format!("{before}{begin}\n{}{end}{after}", self.markdown()?))?;
        Ok(())
    }

    fn markdown(&self) -> Outcome<String> {
        let mut text = format!("\nMeasured on {} on {}.\n", said_by("date", &["-u", "+%Y-%m-%d"])?, machine()?);
        for (title, rows, notes) in &self.tables {
            write!(text, "\n### {title}\n\n| what | measured | budget | |\n|---|---:|---:|---|\n")?;
            for row in rows {
                writeln!(
                    text,
                    "| {} | {} {} | {} | {} |",
                    row.what,
                    number(row.measured),
                    row.unit,
                    row.budget(),
                    row.verdict()
                )?;
            }
            for note in notes {
                write!(text, "\n{note}\n")?;
            }
        }
        text.push('\n');
        Ok(text)
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The machine, as far as it matters to the numbers; how busy it was with other things, too.
fn machine() -> Outcome<String> {
    let cpus = thread::available_parallelism()?;
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let compiler = said_by("rustc", &["--version"])?;
    Ok(format!("{cpus} cores of {model}, Linux {}, {compiler}", kernel.trim()))
}

fn said_by(program: &str, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_budget_says_by_how_much() {
        let row = Row { what: String::new(), measured: 75.0, unit: "us", budget: Budget::AtMost(50.0) };
        assert_eq!((row.budget().as_str(), row.verdict().as_str()), ("<= 50.0 us", "**missed** by 50 %"));
        assert_eq!(Row { measured: 50.0, ..row }.verdict(), "met");
    }

    #[test]
    fn only_the_measured_part_of_a_page_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("page.md");
        let [begin, end] = marks("measured");
        fs::write(&page, format!("before\n{begin}\nold\n{end}\nafter\n")).unwrap();
        let mut report = Report::default();
        report.table("A table");
        report.row("a thing", 1.0, "us", Budget::None);
        report.write_into(&page, "measured").unwrap();
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with(&format!("{end}\nafter\n")));
        assert!(text.contains("| a thing | 1.00 us |") && !text.contains("old"));
    }
}
