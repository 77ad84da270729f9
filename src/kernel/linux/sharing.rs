//! Who else has a socket open.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Identity, failed, identity};

/// How many processes and descriptors of theirs are looked at before giving up, to bound the time. Tests run beside
/// each other, and their children have all that the others have opened, until they execute something.
const LOOKS_AT_MOST: usize = if cfg!(test) { 1_000_000 } else { 1_000 };

/// How many descriptors this process may have room for, to bound the time.
const OWN_AT_MOST: i32 = 1 << 15;

type ProcessId = u32;

/// What `/proc/<pid>/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: ProcessId,
    /// In clock ticks since the machine started.
    started: u64,
}

/// Rules out that another number of ours names the socket.
///
/// `fstat` of every number that there is room for takes a tenth of the time that reading the links in `/proc` would.
pub(super) fn rule_out_ourselves(socket: Identity, known: [i32; 2]) -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status").map_err(failed("reading /proc/self/status"))?;
    let room = status.lines().find_map(|line| line.strip_prefix("FDSize:")?.trim().parse().ok());
    let room = room.ok_or_else(|| unknown("/proc/self/status does not tell FDSize"))?;
    if room > OWN_AT_MOST {
        return Err(unknown("this process has too many descriptors to look at"));
    }
    let names_it = |number: &i32| identity(*number).is_ok_and(|identity| identity == socket);
    match (0..room).filter(|number| !known.contains(number)).find(names_it) {
        Some(number) => Err(shared(&format!("descriptor {number} of this process"))),
        None => Ok(()),
    }
}

/// Rules out that another process has the socket with this inode open; see [`super::Listener::hold`].
///
/// Every listing of the processes may miss one that is started meanwhile by one that was not looked at yet and ends
/// before it is. So this goes on until a listing shows no process that is new.
pub(super) fn rule_out_others(proc: &Path, inode: u64) -> io::Result<()> {
    let link = PathBuf::from(format!("socket:[{inode}]"));
    // As this /proc numbers processes: it may be that of another namespace, where ours has another number.
    let own = fs::read_link(proc.join("self")).map_err(failed("reading /proc/self"))?;
    let own = own.to_str().and_then(|own| own.parse().ok()).ok_or_else(|| unknown("/proc/self is no process"))?;
    let mut processes = HashMap::new();
    let mut looks_left = LOOKS_AT_MOST;
    loop {
        let new = processes_but(proc, &processes, &mut looks_left)?;
        if new.is_empty() {
            return Ok(());
        }
        processes.extend(&new);
        if !processes.contains_key(&1) {
            return Err(unknown("/proc does not show the processes of other users"));
        }
        let Some(&ourselves) = processes.get(&own) else {
            return Err(unknown("/proc does not show this process"));
        };
        for (&id, process) in new.iter().filter(|&(&id, _)| id != own) {
            let descends = descends(id, own, &processes);
            if descends || self::descends(own, id, &processes) || process.started >= ourselves.started {
                match has_link(&proc.join(id.to_string()).join("fd"), &link, &mut looks_left) {
                    Ok(true) => return Err(shared(&format!("process {id}"))),
                    Ok(false) => {}
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !descends => {}
                    Err(error) => return Err(failed(&format!("reading /proc/{id}/fd"))(error)),
                }
            }
        }
    }
}

/// The processes that are not known yet.
fn processes_but(
    proc: &Path,
    known: &HashMap<ProcessId, Process>,
    looks_left: &mut usize,
) -> io::Result<HashMap<ProcessId, Process>> {
    let mut new = HashMap::new();
    for entry in fs::read_dir(proc).map_err(failed("listing /proc"))? {
        let entry = entry.map_err(failed("listing /proc"))?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if known.contains_key(&id) {
            continue;
        }
        look(looks_left)?;
        match fs::read(entry.path().join("stat")) {
            Ok(stat) => {
                let process = parse_stat(&String::from_utf8_lossy(&stat));
                new.insert(id, process.ok_or_else(|| unknown(&format!("/proc/{id}/stat is not understood")))?);
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed(&format!("reading /proc/{id}/stat"))(error)),
        }
    }
    Ok(new)
}

/// The second field is the program's name in parentheses, and may contain any of what separates the fields.
fn parse_stat(stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process { parent, started })
}

/// Whether one process descends from the other, or may do so: a parent may have ended before it was looked at.
fn descends(from: ProcessId, ancestor: ProcessId, processes: &HashMap<ProcessId, Process>) -> bool {
    let mut id = from;
    // The processes were not looked at in one moment, so their parents might go round in a circle.
    for _ in 0..processes.len() {
        match processes.get(&id) {
            None => return true,
            Some(process) if process.parent == ancestor => return true,
            // The first process has no parent, nor has one that came in from another namespace.
            Some(process) if process.parent == 0 => return false,
            Some(process) => id = process.parent,
        }
    }
    true
}

/// Whether a link in this directory says the same.
fn has_link(directory: &Path, link: &Path, looks_left: &mut usize) -> io::Result<bool> {
    let entries = match fs::read_dir(directory) {
        Err(error) if is_gone(&error) => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        look(looks_left)?;
        match entry.and_then(|entry| fs::read_link(entry.path())) {
            Ok(found) if found == link => return Ok(true),
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn look(looks_left: &mut usize) -> io::Result<()> {
    *looks_left = looks_left.checked_sub(1).ok_or_else(|| unknown("there are too many processes to look at"))?;
    Ok(())
}

/// Whether the process has ended, or has closed the descriptor.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn shared(by: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, format!("the listening socket is shared with {by}"))
}

fn unknown(why: &str) -> io::Error {
    io::Error::other(format!("whether the listening socket is shared is not known: {why}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const INODE: u64 = 4711;
    const OWN: ProcessId = 20;

    /// A directory made to look like `/proc`: an init, a shell that is our parent, and us.
    struct Proc(PathBuf);

    impl Proc {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("http-terminator-proc-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let proc = Self(std::env::temp_dir().join(name));
            fs::create_dir(&proc.0).unwrap();
            symlink(OWN.to_string(), proc.0.join("self")).unwrap();
            fs::write(proc.0.join("uptime"), "not a process").unwrap();
            proc.process(1, 0, 0, &[]).process(10, 1, 50, &["/dev/null"]).process(OWN, 10, 100, &["socket:[4711]"])
        }

        fn process(self, id: ProcessId, parent: ProcessId, started: u64, links: &[&str]) -> Self {
            let directory = self.0.join(id.to_string());
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(directory.join("fd")).unwrap();
            let zeros = "0 ".repeat(17);
            fs::write(directory.join("stat"), format!("{id} (a) (b 7) S {parent} {zeros}{started} 0 0\n")).unwrap();
            for (number, link) in links.iter().enumerate() {
                symlink(link, directory.join("fd").join(number.to_string())).unwrap();
            }
            self
        }

        /// What holds no directory is refused like one that may not be looked at.
        fn unreadable(self, id: ProcessId) -> Self {
            let directory = self.0.join(id.to_string()).join("fd");
            fs::remove_dir(&directory).unwrap();
            fs::write(directory, "").unwrap();
            self
        }

        fn result(&self) -> Result<(), (io::ErrorKind, String)> {
            rule_out_others(&self.0, INODE).map_err(|error| (error.kind(), error.to_string()))
        }

        fn shared_with(&self, id: ProcessId) -> bool {
            let text = format!("the listening socket is shared with process {id}");
            self.result() == Err((io::ErrorKind::ResourceBusy, text))
        }
    }

    impl Drop for Proc {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn alone() {
        assert_eq!(Proc::new().result(), Ok(()));
        assert_eq!(Proc::new().process(30, OWN, 100, &["socket:[4712]", "/tmp/a", "pipe:[4711]"]).result(), Ok(()));
    }

    #[test]
    fn children_and_theirs_share_it() {
        assert!(Proc::new().process(30, OWN, 100, &["/dev/null", "socket:[4711]"]).shared_with(30));
        let generations = Proc::new().process(30, OWN, 100, &[]).process(31, 30, 101, &["socket:[4711]"]);
        assert!(generations.shared_with(31));
        // Numbers of processes are used again, so a child's may be lower.
        assert!(Proc::new().process(5, OWN, 200, &["socket:[4711]"]).shared_with(5));
    }

    #[test]
    fn parents_share_it() {
        assert!(Proc::new().process(9, 1, 10, &[]).process(10, 9, 50, &["socket:[4711]"]).shared_with(10));
        assert!(Proc::new().process(1, 0, 0, &["socket:[4711]"]).shared_with(1));
    }

    #[test]
    fn a_descendant_that_lost_its_parent_shares_it() {
        assert!(Proc::new().process(30, 1, 100, &["socket:[4711]"]).shared_with(30));
    }

    #[test]
    fn older_strangers_are_not_looked_at() {
        assert_eq!(Proc::new().process(15, 1, 99, &["socket:[4711]"]).result(), Ok(()));
    }

    #[test]
    fn whoever_cannot_be_looked_at_may_share_it() {
        let (kind, text) = Proc::new().process(30, OWN, 100, &[]).unreadable(30).result().unwrap_err();
        assert_eq!(kind, io::ErrorKind::NotADirectory);
        assert!(text.starts_with("reading /proc/30/fd failed: "), "{text}");
    }

    #[test]
    fn what_does_not_show_every_process_proves_nothing() {
        let proc = Proc::new();
        fs::remove_dir_all(proc.0.join("1")).unwrap();
        assert!(proc.result().unwrap_err().1.ends_with("does not show the processes of other users"));
        let proc = Proc::new();
        fs::remove_dir_all(proc.0.join(OWN.to_string())).unwrap();
        assert!(proc.result().unwrap_err().1.ends_with("does not show this process"));
        let proc = Proc::new();
        fs::remove_file(proc.0.join("self")).unwrap();
        assert!(proc.result().unwrap_err().1.starts_with("reading /proc/self failed: "));
        let proc = Proc::new().process(15, 1, 0, &[]);
        fs::write(proc.0.join("15/stat"), "15 (").unwrap();
        assert!(proc.result().unwrap_err().1.ends_with("/proc/15/stat is not understood"));
    }

    #[test]
    fn who_ends_meanwhile_shares_nothing() {
        let proc = Proc::new().process(30, OWN, 100, &[]).process(31, OWN, 100, &[]);
        fs::remove_file(proc.0.join("30/stat")).unwrap();
        fs::remove_dir(proc.0.join("31/fd")).unwrap();
        assert_eq!(proc.result(), Ok(()));
    }

    #[test]
    fn gives_up_before_it_takes_long() {
        let proc = Proc::new().process(30, OWN, 100, &["/dev/null"; 100]);
        let mut looks_left = 100;
        let directory = proc.0.join("30/fd");
        assert!(!has_link(&directory, Path::new("socket:[4711]"), &mut looks_left).unwrap());
        assert!(has_link(&directory, Path::new("socket:[4711]"), &mut looks_left).is_err());
    }

    #[test]
    fn a_parent_that_is_not_known_may_be_anybody() {
        let process = |parent| Process { parent, started: 0 };
        let processes =
            HashMap::from([(1, process(0)), (2, process(1)), (3, process(9)), (4, process(5)), (5, process(4))]);
        assert!(descends(2, 1, &processes));
        assert!(!descends(2, 7, &processes));
        assert!(!descends(1, 2, &processes));
        assert!(descends(3, 7, &processes));
        assert!(descends(4, 7, &processes));
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        let own = parse_stat(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("1 (a) S 0"), None);
        assert_eq!(parse_stat("1 (a) S x"), None);
    }
}
