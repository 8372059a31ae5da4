//! `[commands]`: what the backend may ask of this gateway beside what does no harm.

use std::str::FromStr;

use acquisition::TagIndex;
use plant_model::{MachineId, TagId};

use crate::output::{Plant, can_be_written};
use crate::section::Section;

/// As many tags as a person can oversee; whoever wants to write more wants a controller.
const WRITE_TAGS_MAX: usize = 256;

/// What the backend may ask for. The default allows no writing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandsConfig {
    /// The tags that may be written.
    pub write_tags: Vec<WritableTag>,
}

/// A tag that may be written by a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritableTag {
    /// The machine.
    pub machine: MachineId,
    /// Its tag.
    pub id: TagId,
    /// Where that is in the machine's list.
    pub tag: TagIndex,
}

pub(crate) fn commands(section: &mut Section<'_>, plant: &Plant<'_>) -> Option<CommandsConfig> {
    let names = if section.has("write_tags") { section.texts("write_tags")? } else { Vec::new() };
    if names.len() > WRITE_TAGS_MAX {
        section.problem(
            "write_tags",
            format!("has {} entries; at most {WRITE_TAGS_MAX} are allowed", names.len()),
        );
        return None;
    }
    let mut write_tags: Vec<WritableTag> = Vec::with_capacity(names.len());
    for name in names {
        match writable(name, plant) {
            Ok(Some(tag)) if write_tags.contains(&tag) => {
                section.problem("write_tags", format!("{name:?} is there twice"))
            }
            Ok(tag) => write_tags.extend(tag),
            Err(problem) => section.problem("write_tags", format!("{name:?}: {problem}")),
        }
    }
    Some(CommandsConfig { write_tags })
}

/// `Ok(None)`: it cannot be told, because something is wrong with the machines.
fn writable(name: &str, plant: &Plant<'_>) -> Result<Option<WritableTag>, String> {
    let (machine, tag) = name.split_once('/').ok_or("\"MACHINE/TAG\" is needed")?;
    let machine = MachineId::from_str(machine).map_err(|error| error.to_string())?;
    let id = TagId::from_str(tag).map_err(|error| error.to_string())?;
    if !plant.is_complete {
        return Ok(None);
    }
    let found = plant.machines.iter().find(|m| m.id == machine);
    let found = found.ok_or_else(|| format!("there is no machine {machine}"))?;
    let position = found.tags.iter().position(|t| t.definition.id == id);
    let tag = position.and_then(|at| u16::try_from(at).ok()).map(TagIndex);
    let tag = tag.ok_or_else(|| format!("the machine {machine} has no tag {id}"))?;
    can_be_written(found, tag)?;
    Ok(Some(WritableTag { machine, id, tag }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    const LATHE: &str = "version = 1\nid = \"lathe\"\n[modbus_tcp]\nhost = \"h\"\n\
        [[tags]]\nid = \"speed\"\ndata_type = \"int\"\nholding_register = 0\nformat = \"u16\"\n\
        [[tags]]\nid = \"load\"\ndata_type = \"int\"\ninput_register = 0\nformat = \"u16\"\n";

    fn load(agent: &str) -> Result<crate::AgentConfig, crate::ConfigErrors> {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        std::fs::create_dir(folder.path().join("machines.d")).expect("made");
        write("machines.d/lathe.toml", LATHE);
        let base = "version = 1\ntenant = \"acme\"\ngateway = \"gw-1\"\n[buffer]\npath = \"b\"\n";
        write("agent.toml", &format!("{base}{agent}"));
        crate::load(Path::new(folder.path()))
    }

    #[test]
    fn nothing_may_be_written_unless_it_is_named() {
        assert!(load("").expect("good").commands.write_tags.is_empty());
        assert!(load("[commands]\n").expect("good").commands.write_tags.is_empty());
        let named = load("[commands]\nwrite_tags = [\"lathe/speed\"]\n").expect("good").commands.write_tags;
        assert_eq!(
            named.iter().map(|t| (t.machine.as_str(), t.id.as_str())).collect::<Vec<_>>(),
            [("lathe", "speed")]
        );
    }

    #[test]
    fn what_is_not_there_or_cannot_be_written_is_told_with_its_line() {
        for (entry, told) in [
            ("[\"lathe\"]", "MACHINE/TAG"),
            ("[\"mill/speed\"]", "no machine mill"),
            ("[\"lathe/feed\"]", "no tag feed"),
            ("[\"lathe/load\"]", "can only be read"),
            ("[\"gateway/cpu\"]", "gateway"),
            ("[\"lathe/speed\", \"lathe/speed\"]", "twice"),
            ("\"lathe/speed\"", "texts"),
            ("[1]", "texts"),
        ] {
            let error = load(&format!("[commands]\nwrite_tags = {entry}\n")).expect_err(entry).to_string();
            assert!(error.contains(told) && error.contains("agent.toml:7"), "{entry}: {error}");
        }
    }
}
