//! Questions to a table, built from its columns.

use sea_orm::sea_query::{Expr, ExprTrait, Func, IntoCondition, LikeExpr, Query as SeaQuery};
use sea_orm::{ColumnTrait, Condition, EntityTrait, Order, QueryFilter, QueryOrder, Select, Value};

use crate::metadata::{LabelRequirement, label_condition};
use crate::noun::Noun;

/// A value to compare a column with.
#[derive(Clone, Debug)]
pub enum Field {
    /// Text.
    Text(String),
    /// A number or a time in microseconds.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<&String> for Field {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}
impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<i64> for Field {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<bool> for Field {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}
impl From<Field> for Value {
    fn from(field: Field) -> Self {
        match field {
            Field::Text(text) => text.into(),
            Field::Int(number) => number.into(),
            Field::Bool(truth) => truth.into(),
        }
    }
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

/// Order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// One page of a list. Pages count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which page, from 1.
    pub number: u64,
    /// Rows a page.
    pub size: u64,
}

/// A question to the table of `E`: all terms must hold.
#[derive(Clone, Debug)]
pub struct Query<E: Noun> {
    condition: Condition,
    order: Vec<(E::Column, Order)>,
}

impl<E: Noun> Default for Query<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Noun> Query<E> {
    /// Every row, in insertion order.
    pub fn new() -> Self {
        Self {
            condition: Condition::all(),
            order: Vec::new(),
        }
    }

    fn and(mut self, term: impl IntoCondition) -> Self {
        self.condition = self.condition.add(term.into_condition());
        self
    }

    /// The row with this guid.
    pub fn guid(guid: &str) -> Self {
        Self::new().eq(E::guid(), guid)
    }

    /// The column has this value.
    pub fn eq(self, column: E::Column, value: impl Into<Field>) -> Self {
        self.and(column.eq(Value::from(value.into())))
    }

    /// The column has another value.
    pub fn ne(self, column: E::Column, value: impl Into<Field>) -> Self {
        self.and(column.ne(Value::from(value.into())))
    }

    /// The column holds nothing.
    pub fn is_null(self, column: E::Column) -> Self {
        self.and(column.is_null())
    }

    /// The column has one of these values; none match an empty list.
    pub fn any_of<V: Into<Field>>(self, column: E::Column, values: impl IntoIterator<Item = V>) -> Self {
        self.and(column.is_in(values.into_iter().map(|v| Value::from(v.into()))))
    }

    /// The column has none of these values.
    pub fn none_of<V: Into<Field>>(self, column: E::Column, values: impl IntoIterator<Item = V>) -> Self {
        self.and(column.is_not_in(values.into_iter().map(|v| Value::from(v.into()))))
    }

    /// The number in the column compares so.
    pub fn compare(self, column: E::Column, how: Compare, number: i64) -> Self {
        self.and(match how {
            Compare::Gt => column.gt(number),
            Compare::Gte => column.gte(number),
            Compare::Lt => column.lt(number),
            Compare::Lte => column.lte(number),
        })
    }

    /// The text in the column contains `part`, taken literally but for the case of ASCII letters.
    pub fn contains(self, column: E::Column, part: &str) -> Self {
        // LIKE minds the case on PostgreSQL and not on SQLite, so both sides are lowered.
        let escaped = part
            .to_ascii_lowercase()
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        let lowered = Expr::expr(Func::lower(Expr::col((E::default(), column))));
        self.and(lowered.like(LikeExpr::new(format!("%{escaped}%")).escape('\\')))
    }

    /// The column's value is among `other_column` of the rows that `other` asks for.
    pub fn within<O: Noun>(self, column: E::Column, other_column: O::Column, other: Query<O>) -> Self {
        let sub = SeaQuery::select()
            .expr(Expr::col((O::default(), other_column)))
            .from(O::default())
            .cond_where(other.condition)
            .to_owned();
        self.and(column.in_subquery(sub))
    }

    /// One of two questions holds.
    pub fn either(self, one: Self, other: Self) -> Self {
        self.and(Condition::any().add(one.condition).add(other.condition))
    }

    /// The row's labels meet every requirement.
    pub fn labels(mut self, requirements: &[LabelRequirement]) -> Self {
        for requirement in requirements {
            self = self.and(label_condition::<E>(requirement));
        }
        self
    }

    /// Sorts by this column; may be repeated. Insertion order decides ties.
    pub fn order(mut self, column: E::Column, direction: Direction) -> Self {
        let order = match direction {
            Direction::Ascending => Order::Asc,
            Direction::Descending => Order::Desc,
        };
        self.order.push((column, order));
        self
    }

    pub(crate) fn condition(&self) -> Condition {
        self.condition.clone()
    }

    pub(crate) fn select(self) -> Select<E> {
        let mut select = <E as EntityTrait>::find().filter(self.condition);
        let last = self.order.last().map_or(Order::Asc, |(_, order)| order.clone());
        for (column, order) in self.order {
            select = select.order_by(column, order);
        }
        select.order_by(E::id(), last)
    }
}
