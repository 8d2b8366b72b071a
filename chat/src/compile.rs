//! From a template's source to metered instructions.
//!
//! Three steps. The tokens are checked first: expressions that nest or chain so far that a recursive compiler would
//! run out of stack are refused, and the `generation` tags that mark what the assistant said (for training) become
//! `with` blocks, which pass their body through in a scope of its own, as the reference does. Then minijinja compiles.
//! Last, the instructions whose cost depends on their operands are replaced by calls to functions of [`crate::ops`]
//! under names that no template can spell, or preceded by one that pays.

use std::collections::BTreeMap;

use minijinja::machinery::{CodeGenerator, Instruction, Instructions, Token, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind, Value};

use crate::ChatError;

/// Longest template in bytes; the longest published ones have some 20 KiB.
const MAX_SOURCE: usize = 1 << 20;
/// The engine counts lines and columns in 16 bits.
const MAX_LINES: usize = 60_000;
/// Most operators, accesses and brackets in one tag: each can be one level of the syntax tree.
const MAX_OPERATORS: usize = 400;
/// Most `elif` branches in a template: each is one level of the syntax tree.
const MAX_ELIFS: usize = 300;

/// Metered instructions: the template's own, and those of its blocks.
pub(crate) type Compiled<'a> = (Instructions<'a>, BTreeMap<&'a str, Instructions<'a>>);

/// The whitespace rules of chat templates.
pub(crate) fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().expect("the default delimiters")
}

/// Checks the source and turns its `generation` blocks into `with` blocks.
pub(crate) fn prepare(source: &str) -> Result<String, ChatError> {
    let refuse = |line: usize, what: String| Err(ChatError::Syntax { line, what });
    if source.len() > MAX_SOURCE {
        return refuse(0, format!("it has {} bytes; at most {MAX_SOURCE} are read", source.len()));
    }
    let mut lines = 0;
    for line in source.split('\n') {
        lines += 1;
        if line.len() > MAX_LINES || lines > MAX_LINES {
            return refuse(lines, format!("at most {MAX_LINES} lines of {MAX_LINES} bytes are read"));
        }
    }
    let mut renamed = Vec::new();
    let (mut operators, mut elifs, mut first) = (0, 0, false);
    for token in tokenize(source, false, syntax()) {
        let (token, span) = token.map_err(syntax_error)?;
        let line = usize::from(span.start_line);
        let at = span.start_offset as usize..span.end_offset as usize;
        match token {
            Token::VariableStart => operators = 0,
            Token::BlockStart => (operators, first) = (0, true),
            Token::Ident(name) if first => {
                first = false;
                match name {
                    "generation" => renamed.push((at, "with")),
                    "endgeneration" => renamed.push((at, "endwith")),
                    "elif" => elifs += 1,
                    _ => {}
                }
            }
            Token::Ident("if" | "else" | "and" | "or" | "not" | "is" | "in") => operators += 1,
            Token::TemplateData(_)
            | Token::Ident(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
            | Token::Comma
            | Token::Colon
            | Token::Assign
            | Token::BlockEnd
            | Token::VariableEnd => {}
            _ => operators += 1,
        }
        if operators > MAX_OPERATORS {
            return refuse(line, format!("one expression has more than {MAX_OPERATORS} operators"));
        }
        if elifs > MAX_ELIFS {
            return refuse(line, format!("it has more than {MAX_ELIFS} `elif` branches"));
        }
    }
    let mut prepared = source.to_string();
    for (at, name) in renamed.into_iter().rev() {
        prepared.replace_range(at, name);
    }
    Ok(prepared)
}

/// Compiles prepared source.
pub(crate) fn compile(source: &str) -> Result<Compiled<'_>, ChatError> {
    let tree = parse(source, "chat template", syntax()).map_err(syntax_error)?;
    let mut generator = CodeGenerator::new("chat template", source);
    generator.compile_stmt(&tree);
    let (main, blocks) = generator.finish();
    let blocks = blocks
        .into_iter()
        .map(|(name, block)| metered(&block).map(|block| (name, block)))
        .collect::<Result<_, _>>()?;
    Ok((metered(&main)?, blocks))
}

fn syntax_error(error: Error) -> ChatError {
    let what = match (error.detail(), error.kind()) {
        (Some(detail), ErrorKind::SyntaxError) => detail.to_string(),
        (Some(detail), kind) => format!("{kind}: {detail}"),
        (None, kind) => kind.to_string(),
    };
    ChatError::Syntax { line: error.line().unwrap_or(0), what }
}

/// The same program, paying for what it does.
fn metered<'a>(program: &Instructions<'a>) -> Result<Instructions<'a>, ChatError> {
    use Instruction::{CallFunction, DiscardTop, DupTop};
    let mut rewritten: Vec<(Instruction<'a>, u16)> = Vec::new();
    let mut moved = Vec::new(); // where each old instruction begins now
    let mut at = 0;
    while let Some(instruction) = program.get(at) {
        moved.push(u32::try_from(rewritten.len()).unwrap_or(u32::MAX));
        let line = program.get_line(at).unwrap_or(0);
        let mut add = |instruction| rewritten.push((instruction, u16::try_from(line).unwrap_or(u16::MAX)));
        let call = |name, n| CallFunction(name, Some(n));
        match instruction {
            Instruction::EmitRaw(text) => {
                add(Instruction::LoadConst(Value::from(*text)));
                add(Instruction::Emit);
            }
            Instruction::Add => add(call("+", 2)),
            Instruction::Mul => add(call("*", 2)),
            Instruction::Rem => add(call("%", 2)),
            Instruction::StringConcat => add(call("~", 2)),
            Instruction::GetItem => add(call("[]", 2)),
            Instruction::Slice => add(call("[:]", 4)),
            Instruction::UnpackLists(n) if *n > 1 => {
                let what = "more than one `*` argument in a call".into();
                return Err(ChatError::Syntax { line, what });
            }
            // What is looked at as a whole, or kept for later, is on top of the stack.
            Instruction::Eq
            | Instruction::Ne
            | Instruction::Lt
            | Instruction::Lte
            | Instruction::Gt
            | Instruction::Gte
            | Instruction::In
            | Instruction::CompareAndPreserve(_)
            | Instruction::StoreLocal(_) => {
                add(DupTop);
                add(call("pay deep", 1));
                add(DiscardTop);
                add(instruction.clone());
            }
            Instruction::SetAttr(_) => {
                add(Instruction::Swap);
                add(DupTop);
                add(call("pay deep", 1));
                add(DiscardTop);
                add(Instruction::Swap);
                add(instruction.clone());
            }
            Instruction::PushLoop(_) => {
                add(DupTop);
                add(call("pay loop", 1));
                add(DiscardTop);
                add(instruction.clone());
            }
            Instruction::UnpackLists(_) | Instruction::UnpackList(_) => {
                add(DupTop);
                add(call("pay", 1));
                add(DiscardTop);
                add(instruction.clone());
            }
            _ => add(instruction.clone()),
        }
        at += 1;
    }
    moved.push(u32::try_from(rewritten.len()).unwrap_or(u32::MAX));
    let mut result = Instructions::new(program.name(), program.source());
    for (mut instruction, line) in rewritten {
        match &mut instruction {
            Instruction::Jump(to)
            | Instruction::JumpIfFalse(to)
            | Instruction::JumpIfFalseOrPop(to)
            | Instruction::JumpIfTrueOrPop(to)
            | Instruction::Iterate(to)
            | Instruction::BuildMacro(_, to, _) => {
                *to = moved.get(*to as usize).copied().expect("jumps stay inside the program");
            }
            _ => {}
        }
        result.add_with_line(instruction, line);
    }
    Ok(result)
}
