//! The serial devices of this gateway, by the names that stay when adapters are replugged.

use std::fs::read_dir;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, Gid, Group, User, access, getuid};
use serde::Serialize;

/// What serial devices are called: USB adapters, USB modems, UARTs of ARM boards, UARTs of PCs.
const NAMES: [&str; 4] = ["ttyUSB", "ttyACM", "ttyAMA", "ttyS"];

/// A PC has up to 32 serial ports, a gateway a handful of adapters.
const DEVICES_MAX: usize = 64;

/// A serial device.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Device {
    /// The name to configure: below `/dev/serial/by-id` if there is one.
    pub device: String,
    /// The kernel's name, which may be another one after replugging.
    pub kernel_name: String,
    /// Why it cannot be used, with the fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Where devices are listed.
pub(super) struct Places {
    pub dev: PathBuf,
    /// Says what is behind a device file: a PC has files for ports that it does not have.
    pub class: PathBuf,
}

impl Places {
    pub(super) fn of_the_system() -> Self {
        Self { dev: "/dev".into(), class: "/sys/class/tty".into() }
    }

    /// All devices, those with lasting names first.
    pub(super) fn list(&self) -> Vec<Device> {
        let lasting = self.lasting_names();
        let mut found: Vec<Device> = entries(&self.dev)
            .filter(|path| is_serial(path) && self.has_hardware(path))
            .take(DEVICES_MAX)
            .map(|path| {
                let name = lasting.iter().find(|(target, _)| *target == path).map_or(&path, |(_, name)| name);
                Device { device: text(name), kernel_name: text(&path), problem: problem(&path) }
            })
            .collect();
        found.sort_by_key(|d| (d.device == d.kernel_name, d.device.clone()));
        found
    }

    /// The lasting name of a device, or the one given.
    pub(super) fn lasting_name(&self, device: &str) -> String {
        let Ok(target) = Path::new(device).canonicalize() else { return device.to_owned() };
        let known = self.lasting_names().into_iter().find(|(known, _)| *known == target);
        known.map_or(device.to_owned(), |(_, name)| text(&name))
    }

    /// Device files and the links to them.
    fn lasting_names(&self) -> Vec<(PathBuf, PathBuf)> {
        let folder = self.dev.join("serial/by-id");
        let links = entries(&folder).take(DEVICES_MAX);
        links.filter_map(|link| Some((link.canonicalize().ok()?, link))).collect()
    }

    fn has_hardware(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default();
        let kind = std::fs::read_to_string(self.class.join(name).join("type"));
        !kind.is_ok_and(|kind| kind.trim() == "0")
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = read_dir(folder).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn is_serial(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    NAMES.iter().any(|kind| {
        name.strip_prefix(kind).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Asks for the rights without opening it: to open a line moves its control signals.
fn problem(path: &Path) -> Option<String> {
    let error = access(path, AccessFlags::R_OK | AccessFlags::W_OK).err()?;
    let user = User::from_uid(getuid()).ok().flatten();
    let user = user.map_or_else(|| getuid().to_string(), |user| user.name);
    Some(explained(error, &user, helpful_group(path).as_deref()))
}

/// The group whose members may use it, unless they may do everything else as well.
fn helpful_group(path: &Path) -> Option<String> {
    let file = std::fs::metadata(path).ok()?;
    let group = Group::from_gid(Gid::from_raw(file.gid())).ok()??;
    (file.mode() & 0o060 == 0o060 && file.gid() != 0).then_some(group.name)
}

fn explained(error: Errno, user: &str, group: Option<&str>) -> String {
    if !matches!(error, Errno::EACCES | Errno::EPERM) {
        return error.desc().to_owned();
    }
    match group {
        Some(group) => format!("{user} may not use it: sudo usermod -aG {group} {user}, then sign in again"),
        None => format!(
            "{user} may not use it, and no group does: a udev rule with GROUP=\"dialout\", MODE=\"0660\" gives it to one"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn devices_come_with_lasting_names_and_without_ports_that_are_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let dev = folder.path().canonicalize().expect("it exists");
        let places = Places { class: dev.join("class"), dev: dev.clone() };
        for name in ["ttyUSB0", "ttyUSB1", "ttyS0", "ttyS1", "tty1", "ttyS", "console", "null"] {
            std::fs::write(dev.join(name), "").expect("written");
        }
        for (name, kind) in [("ttyS0", "4\n"), ("ttyS1", "0\n")] {
            std::fs::create_dir_all(dev.join("class").join(name)).expect("created");
            std::fs::write(dev.join("class").join(name).join("type"), kind).expect("written");
        }
        std::fs::create_dir_all(dev.join("serial/by-id")).expect("created");
        let link = dev.join("serial/by-id/usb-FTDI_RS485-if00-port0");
        symlink("../../ttyUSB1", &link).expect("linked");
        let found = places.list();
        let names: Vec<&str> = found
            .iter()
            .map(|d| d.device.strip_prefix(dev.to_str().expect("plain")).expect("below"))
            .collect();
        assert_eq!(names, ["/serial/by-id/usb-FTDI_RS485-if00-port0", "/ttyS0", "/ttyUSB0"]);
        assert!(found[0].kernel_name.ends_with("/ttyUSB1"), "{found:?}");
        assert_eq!(places.lasting_name(&text(&dev.join("ttyUSB1"))), text(&link));
        assert_eq!(places.lasting_name("/nowhere"), "/nowhere");
    }

    #[test]
    fn a_missing_right_is_told_with_the_command_that_gives_it() {
        let told = explained(Errno::EACCES, "alice", Some("dialout"));
        assert_eq!(told, "alice may not use it: sudo usermod -aG dialout alice, then sign in again");
        let told = explained(Errno::EACCES, "alice", None);
        assert!(told.contains("udev rule") && !told.contains("usermod"), "never into the group root: {told}");
    }
}
