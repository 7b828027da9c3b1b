//! The statements the double reads, by structure.

use super::token::{Spanned, Stop, Token, tokens};

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Nothing but `;`.
    Empty,
    Select(Select),
    ShowSnapshots,
    ShowPitr,
    Begin,
    Rollback,
    /// `KILL [QUERY | CONNECTION] <id>`.
    Kill {
        connection: bool,
        id: u32,
    },
    Backup(Backup),
}

/// `SELECT <items> [FROM <table> [WHERE …] [ORDER BY …] [LIMIT n]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    pub items: Vec<Item>,
    pub table: Option<String>,
    pub filter: Vec<Condition>,
    pub order: Vec<String>,
    pub limit: Option<usize>,
}

/// What is selected, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub value: Value,
    pub alias: Option<String>,
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Everything,
    Text(String),
    Number(String),
    Variable(String),
    Name(String),
    Call(String, Vec<Value>),
    /// `cast(… as char)`.
    Cast(Box<Value>),
    Query(Box<Select>),
}

/// One part of a WHERE; the parts are joined by AND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub left: Value,
    pub operator: Operator,
    pub right: Value,
}

/// How the sides are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    Unequal,
    /// With `%` at the end.
    Like,
}

/// A BACKUP. The label is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub label: String,
    pub target: Target,
    pub kind: Option<String>,
    pub since: Option<String>,
}

/// Where a BACKUP writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    FileSystem { path: String, parallelism: String },
    S3(Vec<(String, String)>),
}

/// Reads a statement.
pub fn parse(statement: &str) -> Result<Statement, Stop> {
    let tokens = tokens(statement)?;
    let mut parser = Parser { tokens, at: 0, length: statement.trim_end().trim_end_matches(';').len() };
    let parsed = parser.statement()?;
    parser.end()?;
    Ok(parsed)
}

/// The label of a statement that begins as a BACKUP does.
pub fn label(statement: &str) -> Option<String> {
    match parse(statement) {
        Ok(Statement::Backup(backup)) => Some(backup.label),
        Ok(_) | Err(_) => None,
    }
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    length: usize,
}

impl Parser {
    fn statement(&mut self) -> Result<Statement, Stop> {
        if self.tokens.is_empty() {
            return Ok(Statement::Empty);
        }
        if self.word("select") {
            return self.select().map(Statement::Select);
        }
        if self.word("begin") {
            return Ok(Statement::Begin);
        }
        if self.word("rollback") {
            return Ok(Statement::Rollback);
        }
        if self.word("show") {
            return match () {
                () if self.word("snapshots") => Ok(Statement::ShowSnapshots),
                () if self.word("pitr") => Ok(Statement::ShowPitr),
                () => Err(self.stop()),
            };
        }
        if self.word("kill") {
            let connection = !self.word("query");
            if connection {
                self.word("connection");
            }
            return self.number().map(|id| Statement::Kill { connection, id });
        }
        if self.word("backup") {
            return self.backup().map(Statement::Backup);
        }
        Err(self.stop())
    }

    fn backup(&mut self) -> Result<Backup, Stop> {
        let label = self.text()?;
        let target = if self.word("filesystem") {
            let path = self.text()?;
            self.expect("parallelism")?;
            Target::FileSystem { path, parallelism: self.text()? }
        } else {
            self.expect("s3option")?;
            self.expect_sign("{")?;
            let mut options = Vec::new();
            loop {
                let key = self.text()?;
                self.expect_sign("=")?;
                options.push((key, self.text()?));
                if !self.sign(",") {
                    break;
                }
            }
            self.expect_sign("}")?;
            Target::S3(options)
        };
        let kind = if self.word("type") { Some(self.text()?) } else { None };
        let since = if self.word("timestamp") { Some(self.text()?) } else { None };
        Ok(Backup { label, target, kind, since })
    }

    fn select(&mut self) -> Result<Select, Stop> {
        let mut select =
            Select { items: vec![self.item()?], table: None, filter: Vec::new(), order: Vec::new(), limit: None };
        while self.sign(",") {
            select.items.push(self.item()?);
        }
        if !self.word("from") {
            return Ok(select);
        }
        select.table = Some(self.name()?.to_lowercase());
        if self.word("where") {
            select.filter.push(self.condition()?);
            while self.word("and") {
                select.filter.push(self.condition()?);
            }
        }
        if self.word("order") {
            self.expect("by")?;
            select.order.push(self.name()?);
            while self.sign(",") {
                select.order.push(self.name()?);
            }
        }
        if self.word("limit") {
            select.limit = Some(self.number()?);
        }
        Ok(select)
    }

    fn item(&mut self) -> Result<Item, Stop> {
        if self.sign("*") {
            return Ok(Item { value: Value::Everything, alias: None });
        }
        let value = self.value()?;
        let alias = if self.word("as") { Some(self.name()?) } else { None };
        Ok(Item { value, alias })
    }

    fn condition(&mut self) -> Result<Condition, Stop> {
        let left = self.value()?;
        let operator = match () {
            () if self.sign("=") => Operator::Equal,
            () if self.sign("<>") => Operator::Unequal,
            () if self.word("like") => Operator::Like,
            () => return Err(self.stop()),
        };
        Ok(Condition { left, operator, right: self.value()? })
    }

    fn value(&mut self) -> Result<Value, Stop> {
        if self.sign("(") {
            self.expect("select")?;
            let query = self.select()?;
            self.expect_sign(")")?;
            return Ok(Value::Query(Box::new(query)));
        }
        if matches!(self.peek(), Some(Token::Text(_))) {
            return self.text().map(Value::Text);
        }
        let name = self.name()?;
        if name.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Value::Number(name));
        }
        if let Some(variable) = name.strip_prefix("@@") {
            return Ok(Value::Variable(variable.to_lowercase()));
        }
        if !self.sign("(") {
            return Ok(Value::Name(name.to_lowercase()));
        }
        let mut arguments = Vec::new();
        while !self.sign(")") {
            if !arguments.is_empty() {
                self.expect_sign(",")?;
            }
            arguments.push(if self.sign("*") { Value::Everything } else { self.value()? });
            if name.eq_ignore_ascii_case("cast") {
                self.expect("as")?;
                self.expect("char")?;
                self.expect_sign(")")?;
                return Ok(Value::Cast(Box::new(arguments.remove(0))));
            }
        }
        Ok(Value::Call(name.to_lowercase(), arguments))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    fn word(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, keyword: &str) -> Result<(), Stop> {
        if self.word(keyword) { Ok(()) } else { Err(self.stop()) }
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), Stop> {
        if self.sign(sign) { Ok(()) } else { Err(self.stop()) }
    }

    fn text(&mut self) -> Result<String, Stop> {
        match self.peek() {
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            Some(Token::Word(_) | Token::Sign(_)) | None => Err(self.stop()),
        }
    }

    fn name(&mut self) -> Result<String, Stop> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            Some(Token::Text(_) | Token::Sign(_)) | None => Err(self.stop()),
        }
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, Stop> {
        let stop = self.stop();
        self.name().and_then(|word| word.parse().map_err(|_| stop))
    }

    fn end(&self) -> Result<(), Stop> {
        if self.at == self.tokens.len() { Ok(()) } else { Err(self.stop()) }
    }

    fn stop(&self) -> Stop {
        let near = self.at.checked_sub(1).and_then(|before| self.tokens.get(before)).map_or(0, |t| t.end);
        Stop { column: self.tokens.get(self.at).map_or(self.length, |t| t.end), near }
    }
}
