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
        check_names(&people)?;
        let (mut steps, mut state) = (Vec::with_capacity(lines.len()), Running::default());
        for (number, line) in lines {
            let step = step(line, &people).ok_or_else(|| format!("line {} makes no sense: {line}", number + 1))?;
            state.take(&step).map_err(|why| format!("line {} cannot be played: {why}", number + 1))?;
            steps.push(step);
        }
        Ok(Self { people, steps })
    }

    /// How many messages there are.
    pub(super) fn texts(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Say { .. })).count()
    }
}

/// Names that can be told apart, by people and by the program.
fn check_names(people: &[String; 2]) -> Result<(), String> {
    if people[0].to_lowercase() == people[1].to_lowercase() {
        return Err(format!("{} and {} are hard to tell apart", people[0], people[1]));
    }
    let taken = |name: &String| ["me", "relay"].contains(&name.to_lowercase().as_str());
    people.iter().find(|name| taken(name)).map_or(Ok(()), |name| Err(format!("nobody can be called {name}")))
}

/// What runs while a script is played: only what runs can be killed, and only what does not can start.
struct Running {
    relay: bool,
    devices: [bool; 2],
}

impl Default for Running {
    fn default() -> Self {
        Self { relay: true, devices: [true; 2] }
    }
}

impl Running {
    fn take(&mut self, step: &Step) -> Result<(), &'static str> {
        let (runs, is_to_run) = match step {
            // Read by the command itself as something else.
            Step::Say { text, .. } if text == "-" => return Err("a lone - cannot be said"),
            Step::Say { .. } => return Ok(()),
            Step::Away { person } => (&mut self.devices[*person], false),
            Step::Back { person } => (&mut self.devices[*person], true),
            Step::RelayKilled => (&mut self.relay, false),
            Step::RelayBack => (&mut self.relay, true),
        };
        match (std::mem::replace(runs, is_to_run), is_to_run) {
            (true, true) => Err("it is here already"),
            (false, false) => Err("it is away already"),
            _ => Ok(()),
        }
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

    #[test]
    fn a_script_that_cannot_be_played_is_refused_before_anything_starts() {
        for line in ["* a back", "* relay back", "* a away\n* a away", "* relay killed\n* relay killed", "a: -"] {
            let refused = Script::read(&format!("a: x\nb: y\n{line}")).unwrap_err();
            assert!(refused.contains("cannot be played"), "{refused}");
        }
        assert!(Script::read("a: x\nb: -5\n* a away\n* relay killed\n* a back\n* relay back").is_ok());
        for people in ["Ann: x\nann: y", "Me: x\nb: y", "Relay: x\nb: y"] {
            assert!(Script::read(people).is_err(), "{people}");
        }
    }
}
