//! Running the built command.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs};

use serde_json::Value;

/// How a run of the command ended.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// What was printed, by a run that succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert_eq!(self.stderr, "");
        self.stdout
    }

    /// The one JSON object that was printed.
    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        assert_eq!(text.lines().count(), 1);
        serde_json::from_str(&text).unwrap()
    }

    /// Checks the exit code, and that all that was told is an error with this in it.
    #[track_caller]
    pub fn refused(self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        assert!(self.stderr.contains(part), "{}", self.stderr);
        // Wrong arguments are shown with the usage; anything else is one line.
        assert!(code == 2 || self.stderr.lines().count() == 1, "{}", self.stderr);
    }
}

/// Runs the command.
pub fn mote(args: &[&str]) -> Outcome {
    mote_with(|command| command.args(args))
}

/// Runs the command as `edit` sets it up, with nothing to read.
pub fn mote_with(edit: impl FnOnce(&mut Command) -> &mut Command) -> Outcome {
    finish(spawn(edit, Stdio::null()))
}

/// Runs the command with something to read.
pub fn mote_fed(edit: impl FnOnce(&mut Command) -> &mut Command, input: &[u8]) -> Outcome {
    let mut child = spawn(edit, Stdio::piped());
    // Whether all of it is read is up to the command.
    let _ = child.stdin.take().expect("piped").write_all(input);
    finish(child)
}

/// Starts the command.
pub fn spawn(edit: impl FnOnce(&mut Command) -> &mut Command, stdin: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
    edit(&mut command);
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the built command")
}

fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().expect("the command's end");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Presses Ctrl-C.
#[cfg(unix)]
pub fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

/// A file of its own in the build folder, with this content.
pub fn scratch(name: &str, content: &[u8]) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for scratch files");
    let path = folder.join(name);
    fs::write(&path, content).expect("a scratch file");
    path
}

/// The bundled model as a file.
pub fn bundled_path() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tales-2M-Q8_0.gguf")
}

/// The reference data of the development machine; it may be absent.
pub fn golden() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    env::var_os("MOTE_GOLDEN").map_or_else(default, PathBuf::from)
}
