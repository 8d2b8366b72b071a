//! `mote chat`: a conversation on the terminal.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use motelm_chat::{Conversation, Message, Request, Template};
use motelm_core::generate::Stop;
use motelm_core::sample::Sampler;

use super::args::{ChatArgs, LimitArgs};
use super::engine::{self, Engine, Running};
use super::errors::Failure;
use super::output;
use super::prompt::text_file;
use super::render::template_file;
use super::run::{Answer, Ended, generate, limits, stats};

const HELP: &str = "\
/help        this
/clear       forget the conversation; the system message stays
/save FILE   keep the conversation in a file
/load FILE   go on with a kept one
/stats       speed and memory of the last answer
/exit        leave; so does Ctrl-D
Ctrl-C stops an answer. A line that ends with \\ goes on with the next one.
";

/// Reads lines and answers them until the end.
pub fn chat(args: &ChatArgs) -> Result<(), Failure> {
    let template = args.template.as_deref().map(template_file).transpose()?;
    let engine = Engine::open(&args.model)?;
    let template = match template {
        Some(template) => template,
        None => Template::from_gguf(&engine.source.file, None)?,
    };
    let running = engine::session(&engine.model, &args.session, 1)?;
    let sampler = engine.sampler(&args.sampling, running.session.context())?;
    let mut conversation = Conversation::new();
    if let Some(system) = &args.system {
        conversation.push(Message::system(system));
    }
    let mut chat =
        Chat { engine, running, sampler, template, conversation, limits: &args.limits, last: None };
    if io::stdin().is_terminal() {
        output::tell(&format!("{}. /help lists the commands.\n", chat.engine.source.name));
    }
    while let Some(line) = read_turn()? {
        if line.trim().is_empty() {
            continue;
        }
        let told = match line.trim_start().strip_prefix('/') {
            Some(command) => match chat.command(command.trim()) {
                Ok(Then::GoOn) => Ok(()),
                Ok(Then::Leave) => return Ok(()),
                Err(failure) => Err(failure),
            },
            None => chat.answer(line),
        };
        match told {
            Ok(()) => {}
            Err(failure @ Failure::Told { .. }) => {
                // The conversation goes on whatever one line did.
                failure.report();
            }
            Err(gone) => return Err(gone),
        }
    }
    Ok(())
}

struct Chat<'a> {
    engine: Engine,
    running: Running,
    sampler: Sampler,
    template: Template,
    conversation: Conversation,
    limits: &'a LimitArgs,
    last: Option<Answer>,
}

/// What comes after a command.
enum Then {
    GoOn,
    Leave,
}

impl Chat<'_> {
    fn command(&mut self, command: &str) -> Result<Then, Failure> {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let file = || match rest.trim() {
            "" => Err(usage(format!("/{name} needs a file"), &format!("/{name} talk.json"))),
            file => Ok(Path::new(file)),
        };
        match name {
            "help" => output::show(HELP)?,
            "clear" => self.conversation.clear(),
            "save" => {
                let file = file()?;
                fs::write(file, self.conversation.save()).map_err(|error| Failure::read(file, &error))?;
            }
            "load" => {
                let file = file()?;
                self.conversation = Conversation::load(&text_file(file)?)?;
                let n = self.conversation.messages.len();
                output::show(&format!("{n} messages\n"))?;
            }
            "stats" => {
                let told = match &self.last {
                    Some(answer) => stats(&self.engine, &self.running, &self.sampler, answer),
                    None => "nothing was answered yet\n".into(),
                };
                let (used, all) = (self.running.session.tokens().len(), self.running.session.context());
                output::show(&format!("{told}context   {used} of {all} tokens\n"))?;
            }
            "exit" | "quit" | "bye" => return Ok(Then::Leave),
            _ => return Err(usage(format!("there is no command /{name}"), "/help lists them")),
        }
        Ok(Then::GoOn)
    }

    /// Answers one message. If that fails, the message is taken back.
    fn answer(&mut self, text: String) -> Result<(), Failure> {
        self.conversation.push(Message::user(text));
        let request = Request::new(&self.conversation.messages);
        let prompt = self.template.tokens(&request, &self.engine.tokenizer);
        let result = prompt.map_err(Failure::from).and_then(|prompt| self.generate(&prompt));
        match result {
            Ok(answer) => {
                self.conversation.push(Message::assistant(answer.text.trim()));
                if self.limits.stats {
                    output::tell(&stats(&self.engine, &self.running, &self.sampler, &answer));
                }
                self.last = Some(answer);
                Ok(())
            }
            Err(failure) => {
                self.conversation.messages.pop();
                Err(failure)
            }
        }
    }

    fn generate(&mut self, prompt: &[u32]) -> Result<Answer, Failure> {
        let limits = limits(self.limits, prompt.len());
        let answer =
            generate(&self.engine, &mut self.running, &mut self.sampler, prompt, limits, output::show)?;
        output::show("\n")?;
        match answer.stop {
            Ended::Interrupted => output::tell("(stopped)\n"),
            Ended::Stopped(Stop::ContextFull) => {
                let context = self.running.session.context();
                output::tell(&format!(
                    "(the context of {context} tokens is full: /clear, or start with a larger -c)
"
                ));
            }
            Ended::Stopped(_) => {}
        }
        Ok(answer)
    }
}

fn usage(what: String, hint: &str) -> Failure {
    Failure::new(super::errors::Kind::Usage, what).hint(hint)
}

/// A line, with those that it continues on; `None` at the end of the input.
fn read_turn() -> Result<Option<String>, Failure> {
    let mut turn = String::new();
    loop {
        if io::stdin().is_terminal() {
            output::show(if turn.is_empty() { "> " } else { "... " })?;
        }
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_until(b'\n', &mut bytes);
        let read = read.map_err(|error| Failure::read(Path::new("standard input"), &error))?;
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r']);
        match line.strip_suffix('\\') {
            Some(line) if read > 0 => {
                turn.push_str(line);
                turn.push('\n');
            }
            _ if read == 0 && turn.is_empty() => return Ok(None),
            _ => {
                turn.push_str(line);
                return Ok(Some(turn));
            }
        }
    }
}
