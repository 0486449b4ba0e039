//! Writing the BPF instructions of a filter.
//!
//! Conditional jumps reach 255 instructions; the tree uses unconditional ones, which reach anywhere, where a branch
//! is longer.

use sys::seccomp::Instruction;

use super::{Action, Condition, Fate, KILL, Range, Rules, Test};

// linux/bpf_common.h.
const LOAD_WORD_ABSOLUTE: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The whole program over `ranges`, which start at 0 and are in order.
pub(super) fn program(arch: u32, ranges: &[Range], default: Action) -> Vec<Instruction> {
    let mut code = vec![
        statement(LOAD_WORD_ABSOLUTE, ARCHITECTURE),
        branch(JUMP_EQUAL, arch, 1, 0),
        statement(RETURN, KILL),
        statement(LOAD_WORD_ABSOLUTE, NUMBER),
    ];
    code.extend(tree(ranges, default));
    code
}

fn tree(ranges: &[Range], default: Action) -> Vec<Instruction> {
    match ranges {
        [] => vec![statement(RETURN, default.value())],
        [one] => leaf(&one.fate, default),
        many => {
            let (low, high) = many.split_at(many.len() / 2);
            let pivot = high.first().map_or(u32::MAX, |range| range.first);
            let (low, high) = (tree(low, default), tree(high, default));
            let mut code = match u8::try_from(low.len()) {
                Ok(skip) => vec![branch(JUMP_GREATER_OR_EQUAL, pivot, skip, 0)],
                Err(_) => {
                    let skip =
                        u32::try_from(low.len()).expect("a filter has at most a few thousand instructions");
                    vec![branch(JUMP_GREATER_OR_EQUAL, pivot, 0, 1), statement(JUMP, skip)]
                }
            };
            code.extend(low);
            code.extend(high);
            code
        }
    }
}

fn leaf(fate: &Fate, default: Action) -> Vec<Instruction> {
    match fate {
        Fate::Plain(action) => vec![statement(RETURN, action.value())],
        Fate::Ruled(rules) => ruled(rules, default),
    }
}

fn ruled(rules: &Rules, default: Action) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (conditions, action) in rules {
        let mut rest = vec![statement(RETURN, action.value())];
        for condition in conditions.iter().rev() {
            let mut test = test(*condition, rest.len());
            test.append(&mut rest);
            rest = test;
        }
        code.append(&mut rest);
    }
    code.push(statement(RETURN, default.value()));
    code
}

/// Falls through when the condition holds; otherwise skips `rest` further instructions, to the next rule.
fn test(condition: Condition, rest: usize) -> Vec<Instruction> {
    let skip = u8::try_from(rest).unwrap_or(u8::MAX);
    // Little-endian machines only: the low half of an argument comes first.
    let (low, high) = (
        ARGUMENTS + 8 * condition.index,
        ARGUMENTS + 8 * condition.index + 4,
    );
    match condition.test {
        Test::Equal(value) => vec![
            statement(LOAD_WORD_ABSOLUTE, low),
            branch(JUMP_EQUAL, lower(value), 0, skip.saturating_add(2)),
            statement(LOAD_WORD_ABSOLUTE, high),
            branch(JUMP_EQUAL, upper(value), 0, skip),
        ],
        Test::NotEqual(value) => vec![
            statement(LOAD_WORD_ABSOLUTE, low),
            branch(JUMP_EQUAL, lower(value), 0, 2),
            statement(LOAD_WORD_ABSOLUTE, high),
            branch(JUMP_EQUAL, upper(value), skip, 0),
        ],
        Test::Greater(value) | Test::GreaterOrEqual(value) => {
            let strict = matches!(condition.test, Test::Greater(_));
            let last = if strict {
                JUMP_GREATER
            } else {
                JUMP_GREATER_OR_EQUAL
            };
            vec![
                statement(LOAD_WORD_ABSOLUTE, high),
                branch(JUMP_GREATER, upper(value), 3, 0),
                branch(JUMP_EQUAL, upper(value), 0, skip.saturating_add(2)),
                statement(LOAD_WORD_ABSOLUTE, low),
                branch(last, lower(value), 0, skip),
            ]
        }
        Test::Less(value) | Test::LessOrEqual(value) => {
            let strict = matches!(condition.test, Test::Less(_));
            let last = if strict {
                JUMP_GREATER_OR_EQUAL
            } else {
                JUMP_GREATER
            };
            vec![
                statement(LOAD_WORD_ABSOLUTE, high),
                branch(JUMP_GREATER, upper(value), skip.saturating_add(3), 0),
                branch(JUMP_EQUAL, upper(value), 0, 2),
                statement(LOAD_WORD_ABSOLUTE, low),
                branch(last, lower(value), skip, 0),
            ]
        }
        Test::Masked { mask, value } => vec![
            statement(LOAD_WORD_ABSOLUTE, low),
            statement(AND, lower(mask)),
            branch(JUMP_EQUAL, lower(value), 0, skip.saturating_add(3)),
            statement(LOAD_WORD_ABSOLUTE, high),
            statement(AND, upper(mask)),
            branch(JUMP_EQUAL, upper(value), 0, skip),
        ],
    }
}

fn lower(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}
