//! What the parts need beyond a Rust toolchain, and how it comes onto this machine.
//!
//! Everything is looked for first and installed second: programs through apt, a target's standard library through
//! rustup or else built from its source, rustup's or Debian's, `wasm-bindgen` through cargo. Nobody distributes a library
//! for WebAssembly that panics without words, has threads, or has 64-bit addresses: those are always built.
//! What is built or downloaded lies in `~/.cache/motelm` (or `MOTE_CACHE`), so a second checkout finds it. What cannot
//! be had is a [`Stop::Skipped`].

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a part ended early.
#[derive(Debug)]
pub enum Stop {
    /// This machine cannot run it; says what is missing.
    Skipped(String),
    /// It ran, and something is wrong.
    Failed(String),
}

/// The checkout and the cache.
pub struct Setup {
    /// The root of the checkout.
    pub root: PathBuf,
    cache: PathBuf,
}

/// Debian's own compiler, which its packaged library source fits; `cargo` is found beside it.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";
const DEBIAN_RUST: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "lld-22"];

/// WebAssembly with 64-bit addresses. No library for it is distributed, and Rust calls its vectors unstable.
pub const BROWSER64: &str = "wasm64-unknown-unknown";

/// What WebAssembly needs for threads, in the standard library as in what is linked to it.
pub const THREADS_FLAGS: &str = "-Ctarget-feature=+atomics,+bulk-memory,+mutable-globals";

/// How the package's modules panic, and the standard library in them: at once, without the sentence that nobody would
/// see (WebAssembly has no standard error), and without the code that words it.
const SILENT: &str = "-Zunstable-options -Cpanic=immediate-abort";

/// The linker that a target's standard library is linked with, where it is not the compiler's own choice.
const LINKERS: [(&str, &str); 2] = [
    ("aarch64-unknown-linux-gnu", "aarch64-linux-gnu-gcc"),
    ("i686-unknown-linux-gnu", "i686-linux-gnu-gcc"),
];

impl Setup {
    /// Finds the checkout and makes the cache.
    pub fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the checkout");
        let cache = env::var_os("MOTE_CACHE").map_or_else(
            || env::home_dir().unwrap_or_else(env::temp_dir).join(".cache/motelm"),
            PathBuf::from,
        );
        fs::create_dir_all(&cache).unwrap_or_else(|e| panic!("{}: {e}", cache.display()));
        Self { root: root.into(), cache }
    }

    /// The host's cargo, in the checkout.
    pub fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Where cargo puts what it builds.
    pub fn target_dir(&self) -> PathBuf {
        self.root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
    }

    /// A program that starts in the root of the checkout.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Makes sure that `program` can be started, by installing `packages` where it cannot.
    pub fn program(&self, program: &str, packages: &[&str]) -> Result<(), Stop> {
        if on_path(program) { Ok(()) } else { apt(&format!("{program} is missing"), packages) }
    }

    /// Makes sure that code can be compiled for `triple`.
    pub fn target(&self, triple: &str) -> Result<Target, Stop> {
        let target = |compiler, sysroot| Target { triple: triple.into(), compiler, sysroot, flags: "" };
        if rustup_has(triple) {
            return Ok(target(Compiler::Rustup, None));
        }
        for compiler in [Compiler::Rustup, Compiler::Debian] {
            let sysroot = self.sysroot(compiler, "").filter(|it| library(it, triple).exists());
            if sysroot.is_some() {
                return Ok(target(compiler, sysroot));
            }
        }
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add", triple]).env("RUST_BACKTRACE", "0");
        if on_path("rustup") && run(&mut rustup).is_ok() && rustup_has(triple) {
            return Ok(target(Compiler::Rustup, None));
        }
        println!("rustup has no standard library for {triple}: building it from its source");
        self.built_target(compiler_with_source(), triple, "", "")
    }

    /// Makes sure that a module of the package can be compiled: with a standard library of this kind, which is
    /// compiled with `flags`, too.
    pub fn module_target(&self, triple: &str, kind: &str, flags: &str) -> Result<Target, Stop> {
        let flags = format!("{SILENT} -Copt-level=z {flags}");
        let target = self.built_target(compiler_with_source(), triple, kind, &flags)?;
        Ok(Target { flags: SILENT, ..target })
    }

    /// A target whose standard library is compiled here, with `flags`, once for each version of the compiler.
    fn built_target(
        &self,
        compiler: Compiler,
        triple: &str,
        kind: &str,
        flags: &str,
    ) -> Result<Target, Stop> {
        if compiler == Compiler::Debian && !(compiler.source().exists() && Path::new(DEBIAN_RUSTC).exists()) {
            apt(&format!("the standard library of {triple}{kind} is missing"), &DEBIAN_RUST)?;
        }
        let sysroot = self.sysroot(compiler, kind);
        let sysroot = sysroot.ok_or_else(|| Stop::Failed(format!("{} has no version", compiler.rustc())))?;
        let home = library(&sysroot, triple);
        if !home.exists() {
            self.build_library(compiler, triple, flags, &home)?;
        }
        Ok(Target { triple: triple.into(), compiler, sysroot: Some(sysroot), flags: "" })
    }

    /// Where the libraries of one kind lie that are built for this version of a compiler, if it is there.
    fn sysroot(&self, compiler: Compiler, kind: &str) -> Option<PathBuf> {
        let version = output(Command::new(compiler.rustc()).arg("--version")).ok()?;
        Some(self.cache.join(format!("sysroot-{}{kind}", version.split_whitespace().nth(1)?)))
    }

    /// Builds the standard library of `triple` from its source into the folder `home`.
    fn build_library(&self, compiler: Compiler, triple: &str, flags: &str, home: &Path) -> Result<(), Stop> {
        // Microcontrollers have no operating system for `std`; rustup gives them these crates, too.
        let bare = triple.ends_with("-none-eabihf");
        let build = self.cache.join(format!("build-{triple}-{}", std::process::id()));
        let mut cargo = compiler.cargo(self);
        cargo
            .current_dir(compiler.source())
            .args([
                "build",
                "--release",
                "--locked",
                "--features",
                "compiler-builtins-mem",
                "--target",
                triple,
            ])
            .args(["--manifest-path", if bare { "alloc/Cargo.toml" } else { "sysroot/Cargo.toml" }])
            .arg("--target-dir")
            .arg(&build)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", format!("-Zforce-unstable-if-unmarked -Cembed-bitcode=yes {flags}"))
            .env("__CARGO_DEFAULT_LIB_METADATA", "stable");
        if let Some(linker) = linker(triple) {
            cargo.env(target_variable(triple, "LINKER"), linker);
        }
        run(&mut cargo)?;
        // It is complete when it appears, also when two checkouts build at the same time.
        let fresh = build.join("lib");
        let install = || -> std::io::Result<()> {
            fs::create_dir_all(&fresh)?;
            for entry in fs::read_dir(build.join(triple).join("release/deps"))? {
                let path = entry?.path();
                if let (true, Some(name)) = (path.extension().is_some_and(|e| e == "rlib"), path.file_name())
                {
                    fs::copy(&path, fresh.join(name))?;
                }
            }
            fs::create_dir_all(home.parent().expect("it lies in a sysroot"))?;
            fs::rename(&fresh, home).or_else(|e| if home.exists() { Ok(()) } else { Err(e) })?;
            fs::remove_dir_all(&build)
        };
        install().map_err(|e| Stop::Failed(format!("{}: {e}", home.display())))
    }

    /// The folder of the `wasm-bindgen` programs, of the version that `Cargo.lock` names: the two must be equal.
    pub fn wasm_bindgen(&self) -> Result<PathBuf, Stop> {
        let lock = fs::read_to_string(self.root.join("Cargo.lock")).unwrap_or_default();
        let version = lock
            .split_once("name = \"wasm-bindgen\"\nversion = \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(version, _)| version)
            .ok_or_else(|| Stop::Failed("Cargo.lock names no wasm-bindgen".into()))?;
        let home = self.cache.join(format!("wasm-bindgen-{version}"));
        let bin = home.join("bin");
        if bin.join("wasm-bindgen-test-runner").exists() {
            return Ok(bin);
        }
        let install = |locked: &[&str]| {
            let mut cargo = self.cargo();
            // Not in the checkout, whose build settings are not meant for it; lightly optimised compiles in half the time.
            cargo.current_dir(&self.cache).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
            cargo
                .args(["install", "wasm-bindgen-cli", "--version", version])
                .args(locked)
                .arg("--root")
                .arg(&home);
            run(&mut cargo)
        };
        // A registry mirror that lags behind may lack a locked version; then any that fits will do for a test tool.
        install(&["--locked"]).or_else(|_| install(&[])).map_err(|_| {
            Stop::Skipped(format!("needs wasm-bindgen-cli {version}, which could not be installed"))
        })?;
        Ok(bin)
    }
}

/// A target that code can be compiled for.
pub struct Target {
    triple: String,
    compiler: Compiler,
    /// Where its standard library lies, when the compiler's own is not the one to use.
    sysroot: Option<PathBuf>,
    /// Unstable flags that everything for it must be compiled with.
    flags: &'static str,
}

impl Target {
    /// A cargo that compiles for this target with `flags` for the compiler.
    ///
    /// The subcommand comes first, then `--target`; callers go on from there.
    pub fn cargo(&self, setup: &Setup, subcommand: &str, flags: &str) -> Command {
        let mut flags = format!("{flags} {}", self.flags);
        if let Some(sysroot) = &self.sysroot {
            flags.push_str(&format!(" --sysroot={}", sysroot.display()));
        }
        let mut cargo = self.compiler.cargo(setup);
        cargo.args([subcommand, "--target", &self.triple]).env(self.variable("RUSTFLAGS"), flags.trim());
        if !self.flags.is_empty() || self.triple == BROWSER64 {
            cargo.env("RUSTC_BOOTSTRAP", "1"); // as the standard library itself is compiled
        }
        if let Some(linker) = linker(&self.triple) {
            cargo.env(self.variable("LINKER"), linker);
        }
        cargo
    }

    /// The folder of what is built for this target with `profile`.
    pub fn built(&self, setup: &Setup, profile: &str) -> PathBuf {
        setup.target_dir().join(&self.triple).join(profile)
    }

    /// The environment variable that configures `what` for this target.
    pub fn variable(&self, what: &str) -> String {
        target_variable(&self.triple, what)
    }
}

/// Whose compiler; each has the source of the library that fits it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compiler {
    /// The one that this program was compiled with.
    Rustup,
    /// The one in Debian's packages.
    Debian,
}

impl Compiler {
    fn cargo(self, setup: &Setup) -> Command {
        match self {
            Self::Rustup => setup.cargo(),
            Self::Debian => {
                // Kept from rustup's: this program itself was started by a cargo that left its traces.
                let mut cargo = setup.command("/usr/bin/cargo");
                cargo.env("RUSTC", DEBIAN_RUSTC).env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
                cargo
            }
        }
    }

    fn rustc(self) -> &'static str {
        match self {
            Self::Rustup => "rustc",
            Self::Debian => DEBIAN_RUSTC,
        }
    }

    /// The library's source, if it is installed.
    fn source(self) -> PathBuf {
        match self {
            Self::Rustup => {
                let sysroot = output(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
                Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library")
            }
            Self::Debian => DEBIAN_LIBRARY.into(),
        }
    }
}

/// Rustup's, where it has the source of its library or can get it.
fn compiler_with_source() -> Compiler {
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    let has_source = || Compiler::Rustup.source().exists();
    let rustup = has_source() || (on_path("rustup") && run(&mut rustup).is_ok() && has_source());
    if rustup { Compiler::Rustup } else { Compiler::Debian }
}

fn target_variable(triple: &str, what: &str) -> String {
    format!("CARGO_TARGET_{}_{what}", triple.to_uppercase().replace('-', "_"))
}

fn linker(triple: &str) -> Option<&'static str> {
    LINKERS.iter().find(|(target, _)| *target == triple).map(|(_, linker)| *linker)
}

/// Where a compiler that is given `sysroot` looks for the standard library of `triple`.
fn library(sysroot: &Path, triple: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(triple).join("lib")
}

fn rustup_has(triple: &str) -> bool {
    let printed = output(Command::new("rustc").args(["--print", "target-libdir", "--target", triple]));
    printed.is_ok_and(|dir| Path::new(dir.trim()).exists())
}

fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).exists()))
}

/// Installs Debian packages, where this is Debian and we may.
fn apt(missing: &str, packages: &[&str]) -> Result<(), Stop> {
    let names = packages.join(" ");
    let skip = |why: &str| Stop::Skipped(format!("{missing} (Debian: {names}); {why}"));
    if !on_path("apt-get") {
        return Err(skip("apt-get is not available"));
    }
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        return Err(skip("only root can install it"));
    }
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut apt)
    };
    let install = || apt(&[&["install", "-y", "--no-install-recommends"], packages].concat());
    // The package lists of a fresh machine may be absent or old.
    install()
        .or_else(|_| apt(&["update"]).and_then(|()| install()))
        .map_err(|_| skip("apt-get could not install it"))
}

/// Runs a command for all to see, as one would type it.
pub fn run(command: &mut Command) -> Result<(), Stop> {
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let set: String = set.map(|(name, value)| format!("{}='{}' ", name.display(), value.display())).collect();
    println!("$ {set}{}", line(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Stop::Failed(format!("{status} of {}", line(command)))),
        Err(e) => Err(Stop::Failed(format!("{e}: {}", line(command)))),
    }
}

/// Runs a command and returns what it prints.
pub fn output(command: &mut Command) -> Result<String, Stop> {
    let done = command.stderr(Stdio::inherit()).output();
    let printed = match done {
        Ok(done) if done.status.success() => String::from_utf8(done.stdout).map_err(|e| e.to_string()),
        Ok(done) => Err(done.status.to_string()),
        Err(e) => Err(e.to_string()),
    };
    printed.map_err(|why| Stop::Failed(format!("{why} of {}", line(command))))
}

/// A program's name and its arguments.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    command.get_args().fold(program, |line, arg| format!("{line} {}", arg.display()))
}
