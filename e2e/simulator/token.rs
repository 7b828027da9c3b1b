//! The words of a statement.

/// A word of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A keyword, a name, a number, `@@variable` or `a.b`; as written.
    Word(String),
    /// A quoted string, without quotes and escapes.
    Text(String),
    /// Anything else, character by character; `<>` is one.
    Sign(&'static str),
}

/// A token and where it ends in the statement, in bytes.
#[derive(Clone, Debug)]
pub struct Spanned {
    pub token: Token,
    pub end: usize,
}

/// Where reading stopped, as the server says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// End of the word that does not fit.
    pub column: usize,
    /// End of the last word that did.
    pub near: usize,
}

const SIGNS: [&str; 10] = ["<>", "(", ")", "{", "}", ",", "=", "*", "<", ">"];

/// Splits a statement; one `;` at its end is left out.
pub fn tokens(statement: &str) -> Result<Vec<Spanned>, Stop> {
    let mut found: Vec<Spanned> = Vec::new();
    let mut at = 0;
    while let Some(c) = statement[at..].chars().next() {
        let start = at;
        let stop = || Stop { column: statement.len(), near: found.last().map_or(0, |t| t.end) };
        let rest = &statement[start..];
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (token, length) = if c == ';' && rest[1..].trim().is_empty() {
            break;
        } else if c == '\'' {
            let (text, length) = quoted(rest).ok_or_else(stop)?;
            (Token::Text(text), length)
        } else if is_word(c) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (Token::Word(rest[..length].to_owned()), length)
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).ok_or_else(stop)?;
            (Token::Sign(sign), sign.len())
        };
        at += length;
        found.push(Spanned { token, end: at });
    }
    Ok(found)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_@.".contains(c)
}

/// The text of a literal and how many bytes it takes; `None` when it does not end.
fn quoted(rest: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if chars.peek().is_some_and(|(_, c)| *c == '\'') => {
                chars.next();
                text.push('\'');
            }
            '\'' => return Some((text, at + 1)),
            '\\' => text.push(match chars.next()?.1 {
                '0' => '\0',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                c => c,
            }),
            c => text.push(c),
        }
    }
    None
}
