//! The parts: what each one needs and how it runs, in the order of the test command.

use crate::relaxed::PROCESSORS;
use crate::setup::{BROWSER64, Setup, Stop, THREADS_FLAGS, Target, output, run};
use std::{env, fs};

/// One way to test.
pub struct Part {
    /// What the command line calls it.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Installs what it needs.
    pub needs: fn(&Setup) -> Result<(), Stop>,
    /// Runs it.
    pub run: fn(&Setup) -> Result<(), Stop>,
}

/// Every part, in order: the fastest answers first, the emulators last.
pub const PARTS: &[Part] = &[
    Part { name: "fmt", about: "the code is formatted", needs: |_| Ok(()), run: fmt },
    Part { name: "clippy", about: "no lint speaks", needs: |_| Ok(()), run: clippy },
    Part { name: "doc", about: "the documentation builds, with no dead link", needs: |_| Ok(()), run: doc },
    Part { name: "native", about: "all tests on this machine", needs: |_| Ok(()), run: native },
    Part { name: "loom", about: "every interleaving of the thread pool", needs: |_| Ok(()), run: loom },
    Part {
        name: "no-std",
        about: "the engine compiles without an operating system",
        needs: no_std_needs,
        run: no_std,
    },
    Part { name: "i686", about: "a 32-bit process", needs: i686_needs, run: i686 },
    Part {
        name: "wasm",
        about: "the engine in headless Chromium",
        needs: |setup| wasm_needs(setup, BROWSER),
        run: |setup| {
            wasm(setup, BROWSER, &BROWSER_TESTS)?;
            other_processors(setup)
        },
    },
    Part {
        name: "wasm64",
        about: "the same with 64-bit addresses",
        needs: |setup| wasm_needs(setup, BROWSER64),
        run: |setup| wasm(setup, BROWSER64, &BROWSER64_TESTS),
    },
    Part {
        name: "page",
        about: "the npm package on a page in Chromium and Firefox",
        needs: page_needs,
        run: page,
    },
    Part {
        name: "examples",
        about: "the npm package as published, in Node, Deno and Bun, a static page, a PWA, Vite and Next.js",
        needs: examples_needs,
        run: examples,
    },
    Part {
        name: "arm",
        about: "64-bit Arm under emulation, with and without dot products",
        needs: arm_needs,
        run: arm,
    },
    Part {
        name: "cortex-m",
        about: "firmware on an emulated microcontroller",
        needs: cortex_m_needs,
        run: cortex_m,
    },
];

fn fmt(setup: &Setup) -> Result<(), Stop> {
    run(setup.cargo().args(["fmt", "--all", "--check"]))?;
    run(setup.cargo().args(["fmt", "--check", "--manifest-path", "embedded/Cargo.toml"]))
}

// The lints, the documentation and the tests share a profile, and with it the build scripts and macros they compile.

fn clippy(setup: &Setup) -> Result<(), Stop> {
    let mut cargo = setup.cargo();
    run(cargo.args(["clippy", "--workspace", "--all-targets", "--profile", "ci", "--", "-D", "warnings"]))
}

fn doc(setup: &Setup) -> Result<(), Stop> {
    let mut cargo = setup.cargo();
    run(cargo.args(["doc", "--workspace", "--no-deps", "--profile", "ci"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn native(setup: &Setup) -> Result<(), Stop> {
    run(setup.cargo().args(["test", "--workspace", "--profile", "ci", "--no-fail-fast"]))
}

/// The pool alone, compiled against loom; that build lives in a folder of its own.
fn loom(setup: &Setup) -> Result<(), Stop> {
    let mut cargo = setup.cargo();
    cargo.args(["test", "-p", "motelm-pool", "--lib", "interleavings", "--target-dir"]);
    run(cargo.arg(setup.target_dir().join("loom")).env("RUSTFLAGS", "--cfg loom"))
}

const MICROCONTROLLER: &str = "thumbv7em-none-eabihf";
const BROWSER: &str = "wasm32-unknown-unknown";

fn no_std_needs(setup: &Setup) -> Result<(), Stop> {
    [MICROCONTROLLER, BROWSER].iter().try_for_each(|triple| setup.target(triple).map(drop))
}

/// The first target has no `std` at all, so a dependency that wants one fails there.
fn no_std(setup: &Setup) -> Result<(), Stop> {
    [MICROCONTROLLER, BROWSER].iter().try_for_each(|triple| {
        let mut cargo = setup.target(triple)?.cargo(setup, "build", "-Dwarnings");
        run(cargo.args(["--profile", "ci", "-p", "motelm-core"]))
    })
}

/// The engine and its tests against reference data: what runs where only part of the workspace is worth the time.
/// (Documentation examples run natively only.)
const ENGINE: [&str; 10] = [
    "-p",
    "motelm-core",
    "-p",
    "motelm-tests",
    "--lib",
    "--bins",
    "--tests",
    "--profile",
    "ci",
    "--no-fail-fast",
];

const I686: &str = "i686-unknown-linux-gnu";

fn i686_needs(setup: &Setup) -> Result<(), Stop> {
    setup.program("i686-linux-gnu-gcc", &["gcc-i686-linux-gnu", "libc6-dev-i386-cross"])?;
    setup.target(I686).map(drop)
}

/// A 64-bit kernel runs these programs itself, so all tests are affordable; they bring their C library along.
fn i686(setup: &Setup) -> Result<(), Stop> {
    let mut cargo = setup.target(I686)?.cargo(setup, "test", "-Ctarget-feature=+crt-static");
    run(cargo.args(ENGINE))
}

fn wasm_needs(setup: &Setup, triple: &str) -> Result<(), Stop> {
    setup.program("chromedriver", &["chromium", "chromium-driver"])?;
    setup.target(triple)?;
    setup.wasm_bindgen().map(drop)
}

/// As the modules of the package for one thread are built.
fn wasm(setup: &Setup, triple: &str, tests: &[&str]) -> Result<(), Stop> {
    let mut builds = BUILDS.iter().filter(|(_, of, _)| *of == triple);
    builds.try_for_each(|(_, _, flags)| in_chromium(setup, triple, flags, tests, ""))
}

/// The relaxed module again, as if Chromium ran on other processors.
fn other_processors(setup: &Setup) -> Result<(), Stop> {
    let xtask = env::current_exe().map_err(|e| Stop::Failed(e.to_string()))?;
    PROCESSORS.iter().try_for_each(|processor| {
        let runner = format!("{} run-as-on {processor} ", xtask.display());
        in_chromium(setup, BROWSER, RELAXED, &["kernels", "models"], &runner)
    })
}

/// `tests/webdriver.json` says how Chromium is started; `through` stands before what runs a test there.
fn in_chromium(setup: &Setup, triple: &str, flags: &str, tests: &[&str], through: &str) -> Result<(), Stop> {
    let target = setup.target(triple)?;
    let runner = setup.wasm_bindgen()?.join("wasm-bindgen-test-runner");
    let mut cargo = target.cargo(setup, "test", flags);
    cargo.args(["--profile", "ci", "-p", "motelm-tests"]);
    cargo.args(tests.iter().flat_map(|name| ["--test", name]));
    cargo.env(target.variable("RUNNER"), format!("{through}{}", runner.display()));
    cargo.env("WASM_BINDGEN_USE_BROWSER", "1").env("WASM_BINDGEN_TEST_TIMEOUT", "300");
    run(cargo.env("CHROMEDRIVER", "chromedriver"))
}

/// The bindings, and the tests against reference data, which bring the cases of `tests/golden` along.
const BROWSER_TESTS: [&str; 6] = ["bindings", "quants", "kernels", "tokenizers", "models", "stories"];
/// Without those that make up input: proptest does not compile for 64-bit addresses.
const BROWSER64_TESTS: [&str; 4] = ["bindings", "kernels", "models", "stories"];

/// What browsers may have beyond the baseline; each is a module of its own in the package, for one thread. No module reduces
/// the strength of loops: behind that, the compiler no longer knows which sums of addresses do not wrap around, and adds up
/// what loads and stores could have as their offset. Without it, modules are 1.5 % smaller and faster.
const BUILDS: [(&str, &str, &str); 3] =
    [("simd128", BROWSER, BASELINE), ("relaxed", BROWSER, RELAXED), ("relaxed64", BROWSER64, RELAXED)];
const BASELINE: &str = "-Ctarget-feature=+simd128 -Cllvm-args=-disable-lsr";
const RELAXED: &str = "-Ctarget-feature=+simd128,+relaxed-simd -Cllvm-args=-disable-lsr";

/// The module for several threads, which share a memory that JavaScript makes. The exports are what `wasm-bindgen`
/// needs to give each thread its own stack and thread-local values.
const THREADS: [&str; 10] = [
    RELAXED,
    THREADS_FLAGS,
    "-Clink-arg=--shared-memory",
    "-Clink-arg=--import-memory",
    "-Clink-arg=--max-memory=4294967296",
    "-Clink-arg=--export=__heap_base",
    "-Clink-arg=--export=__wasm_init_tls",
    "-Clink-arg=--export=__tls_size",
    "-Clink-arg=--export=__tls_align",
    "-Clink-arg=--export=__tls_base",
];

fn page_needs(setup: &Setup) -> Result<(), Stop> {
    setup.program("chromium", &["chromium"])?;
    setup.program("firefox-esr", &["firefox-esr"])?;
    web_needs(setup)
}

fn page(setup: &Setup) -> Result<(), Stop> {
    build_web(setup)?;
    run(setup.command("npm").args(["test", "--prefix", "web"]))
}

fn examples_needs(setup: &Setup) -> Result<(), Stop> {
    setup.program("chromium", &["chromium"])?;
    web_needs(setup)
}

/// Each example installs what it needs from npm's registry.
fn examples(setup: &Setup) -> Result<(), Stop> {
    build_web(setup)?;
    run(setup.command("node").args(["--test", "web/test/examples.mjs"]))
}

/// Builds the npm package in `web/`.
pub fn web(setup: &Setup) -> Result<(), Stop> {
    web_needs(setup)?;
    build_web(setup)
}

/// What building the npm package needs, and testing it.
fn web_needs(setup: &Setup) -> Result<(), Stop> {
    setup.program("npm", &["nodejs", "npm"])?;
    setup.target(BROWSER)?;
    setup.wasm_bindgen()?;
    // npm writes the first when it has installed what the second lists.
    let modified = |path| fs::metadata(setup.root.join(path)).and_then(|file| file.modified()).ok();
    if modified("web/node_modules/.package-lock.json") >= modified("web/package-lock.json") {
        Ok(())
    } else {
        run(setup.command("npm").args(["ci", "--prefix", "web", "--no-audit"]))
    }
}

/// The engine, the bindings around it, the TypeScript on top.
fn build_web(setup: &Setup) -> Result<(), Stop> {
    let one_thread = |triple| setup.module_target(triple, "-modules", "");
    for (name, triple, flags) in BUILDS {
        build_module(setup, name, "motelm-wasm", one_thread(triple)?, flags)?;
    }
    // What every engine's build needs a browser to have, this may have, too.
    build_module(setup, "chat", "motelm-wasm-chat", one_thread(BROWSER)?, BASELINE)?;
    let threads = setup.module_target(BROWSER, "-modules-threads", THREADS_FLAGS)?;
    build_module(setup, "threads", "motelm-wasm", threads, &THREADS.join(" "))?;
    run(setup.command("npm").args(["run", "--prefix", "web", "build"]))
}

fn build_module(setup: &Setup, name: &str, krate: &str, target: Target, flags: &str) -> Result<(), Stop> {
    run(target.cargo(setup, "build", flags).args(["--profile", "wasm", "-p", krate]))?;
    let mut bindgen = setup.command(setup.wasm_bindgen()?.join("wasm-bindgen"));
    bindgen.args(["--target", "web", "--out-dir", &format!("web/wasm/{name}")]);
    bindgen.args(["--remove-name-section", "--remove-producers-section"]); // a tenth of the module
    run(bindgen.arg(target.built(setup, "wasm").join(format!("{}.wasm", krate.replace('-', "_")))))
}

const ARM: &str = "aarch64-unknown-linux-gnu";

fn arm_needs(setup: &Setup) -> Result<(), Stop> {
    setup.program("aarch64-linux-gnu-gcc", &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])?;
    setup.program("qemu-aarch64", &["qemu-user"])?;
    setup.target(ARM).map(drop)
}

/// A processor with everything, then one of 2012 without dot products. Emulation is slow: the small reference set.
fn arm(setup: &Setup) -> Result<(), Stop> {
    let target = setup.target(ARM)?;
    ["max", "cortex-a53"].iter().try_for_each(|processor| {
        let mut cargo = target.cargo(setup, "test", "");
        cargo.args(ENGINE).env(
            target.variable("RUNNER"),
            format!("qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu {processor}"),
        );
        run(cargo.env("MOTE_GOLDEN", "none"))
    })
}

fn cortex_m_needs(setup: &Setup) -> Result<(), Stop> {
    setup.program("qemu-system-arm", &["qemu-system-arm"])?;
    setup.target(MICROCONTROLLER).map(drop)
}

/// The firmware prints a story, which must be `embedded/story.txt`; `tests/tests/stories.rs` tells the same one on
/// every other machine. The firmware's exit code arrives through the emulator.
fn cortex_m(setup: &Setup) -> Result<(), Stop> {
    let mut cargo = setup.target(MICROCONTROLLER)?.cargo(setup, "build", "-Dwarnings");
    cargo.args(["--release", "--manifest-path", "embedded/Cargo.toml", "--target-dir"]);
    run(cargo.arg(setup.target_dir()))?;
    let mut qemu = setup.command("qemu-system-arm");
    qemu.args([
        "-M",
        "mps2-an500",
        "-nographic",
        "-semihosting-config",
        "enable=on,target=native",
        "-kernel",
    ]);
    let told = output(qemu.arg(setup.target_dir().join(MICROCONTROLLER).join("release/motelm-embedded")))?;
    println!("{told}");
    let expected = setup.root.join("embedded/story.txt");
    match fs::read_to_string(&expected) {
        Ok(story) if story == told => Ok(()),
        Ok(story) => Err(Stop::Failed(format!("expected the story of {}:\n{story}", expected.display()))),
        Err(e) => Err(Stop::Failed(format!("{}: {e}", expected.display()))),
    }
}
