//! The script of a demo: who says what, and what breaks when.

/// A line of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A person, 0 or 1, says something.
    Say { person: usize, text: String },
    /// Their device is killed.
    Away { person: usize },
    /// Their device starts again.
    Back { person: usize },
    /// The relay is killed.
    RelayKilled,
    /// The relay starts again.
    RelayBack,
}

/// Two people and what happens between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Script {
    pub(super) people: [String; 2],
    pub(super) steps: Vec<Step>,
}

impl Script {
    /// Reads a script; the format is explained in the one that comes with the demo.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let lines =
            text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<(usize, &str)> = lines.collect();
        let mut people: Vec<String> = Vec::new();
        for (_, line) in &lines {
            if let Some((name, _)) = said(line)
                && !people.iter().any(|known| known == name)
            {
                people.push(name.to_owned());
            }
        }
        let people: [String; 2] = people
            .try_into()
            .map_err(|people: Vec<String>| format!("a script has two people, this one {}", people.len()))?;
        let mut steps = Vec::with_capacity(lines.len());
        for (number, line) in lines {
            steps.push(step(line, &people).ok_or_else(|| format!("line {} makes no sense: {line}", number + 1))?);
        }
        Ok(Self { people, steps })
    }

    /// How many messages there are.
    pub(super) fn texts(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Say { .. })).count()
    }
}

fn said(line: &str) -> Option<(&str, &str)> {
    if line.starts_with('*') {
        return None;
    }
    let (name, text) = line.split_once(':')?;
    let (name, text) = (name.trim(), text.trim());
    (!name.is_empty() && !name.contains(['/', '.']) && !text.is_empty()).then_some((name, text))
}

fn step(line: &str, people: &[String; 2]) -> Option<Step> {
    let person = |name: &str| people.iter().position(|known| known == name);
    if let Some((name, text)) = said(line) {
        return Some(Step::Say { person: person(name)?, text: text.to_owned() });
    }
    let (subject, event) = line.strip_prefix('*')?.trim().rsplit_once(' ')?;
    match (subject.trim(), event) {
        ("relay", "killed") => Some(Step::RelayKilled),
        ("relay", "back") => Some(Step::RelayBack),
        (name, "away") => Some(Step::Away { person: person(name)? }),
        (name, "back") => Some(Step::Back { person: person(name)? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_that_comes_with_the_demo_kills_the_relay_and_a_device() {
        let script = Script::read(include_str!("../../demo/conversation.txt")).unwrap();
        assert!(script.texts() > 10);
        assert!(script.steps.contains(&Step::RelayKilled));
        assert!(script.steps.iter().any(|step| matches!(step, Step::Away { .. })));
    }

    #[test]
    fn a_script_that_makes_no_sense_is_refused_with_its_line() {
        assert!(Script::read("a: hello").unwrap_err().contains("two people"));
        assert!(Script::read("a: x\nb: y\nc: z").is_err());
        assert!(Script::read("a: x\nb: y\n* c away").unwrap_err().contains("line 3"));
        assert!(Script::read("a: x\nb: y\nnonsense").unwrap_err().contains("line 3"));
    }
}
