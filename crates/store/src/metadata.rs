//! Labels and annotations of any resource, and the selector over labels.

use sea_orm::sea_query::{
    Alias, Expr, ExprTrait, IntoCondition, OnConflict, Query as SeaQuery, SelectStatement,
};
use sea_orm::{ConnectionTrait, sea_query::Condition};

use crate::StoreError;
use crate::noun::Noun;
use crate::tx::Tx;

/// Which map of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataKind {
    /// Selectable.
    Label,
    /// Free text.
    Annotation,
}

impl MetadataKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Annotation => "annotation",
        }
    }
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelRequirement {
    /// `key`
    Exists(String),
    /// `!key`
    Absent(String),
    /// `key = value`, `key in (a,b)`
    In(String, Vec<String>),
    /// `key != value`, `key notin (a,b)`: also met by a resource without the label.
    NotIn(String, Vec<String>),
}

fn table() -> Alias {
    Alias::new("metadata")
}
fn column(name: &'static str) -> Alias {
    Alias::new(name)
}

pub(crate) fn label_condition<E: Noun>(requirement: &LabelRequirement) -> Condition {
    let labels = |key: &str, values: Option<&Vec<String>>| -> SelectStatement {
        let mut select = SeaQuery::select();
        select
            .column(column("resource_guid"))
            .from(table())
            .and_where(Expr::col(column("kind")).eq(MetadataKind::Label.as_str()))
            .and_where(Expr::col(column("name")).eq(key));
        if let Some(values) = values {
            select.and_where(Expr::col(column("value")).is_in(values.iter().cloned()));
        }
        select.take()
    };
    let guid = Expr::col((E::default(), E::guid()));
    match requirement {
        LabelRequirement::Exists(key) => guid.in_subquery(labels(key, None)),
        LabelRequirement::Absent(key) => guid.not_in_subquery(labels(key, None)),
        LabelRequirement::In(key, values) => guid.in_subquery(labels(key, Some(values))),
        LabelRequirement::NotIn(key, values) => guid.not_in_subquery(labels(key, Some(values))),
    }
    .into_condition()
}

impl Tx {
    /// All labels or annotations of these resources, as `(resource guid, name, value)`, sorted by name.
    pub async fn metadata(
        &self,
        kind: MetadataKind,
        guids: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<(String, String, String)>, StoreError> {
        let guids: Vec<&str> = guids.into_iter().collect();
        if guids.is_empty() {
            return Ok(Vec::new());
        }
        let select = SeaQuery::select()
            .columns([column("resource_guid"), column("name"), column("value")])
            .from(table())
            .and_where(Expr::col(column("kind")).eq(kind.as_str()))
            .and_where(Expr::col(column("resource_guid")).is_in(guids))
            .order_by(column("name"), sea_orm::Order::Asc)
            .to_owned();
        let rows = self.seen(self.inner().query_all(&select).await)?;
        rows.iter()
            .map(|row| {
                Ok((
                    row.try_get("", "resource_guid")?,
                    row.try_get("", "name")?,
                    row.try_get("", "value")?,
                ))
            })
            .collect()
    }

    /// Sets (or, for `None`, removes) one label or annotation.
    pub async fn set_metadata(
        &self,
        guid: &str,
        kind: MetadataKind,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), StoreError> {
        let Some(value) = value else {
            let delete = SeaQuery::delete()
                .from_table(table())
                .and_where(Expr::col(column("resource_guid")).eq(guid))
                .and_where(Expr::col(column("kind")).eq(kind.as_str()))
                .and_where(Expr::col(column("name")).eq(name))
                .to_owned();
            self.seen(self.inner().execute(&delete).await)?;
            return Ok(());
        };
        let insert = SeaQuery::insert()
            .into_table(table())
            .columns([
                column("resource_guid"),
                column("kind"),
                column("name"),
                column("value"),
            ])
            .values_panic([guid.into(), kind.as_str().into(), name.into(), value.into()])
            .on_conflict(
                OnConflict::columns([column("resource_guid"), column("kind"), column("name")])
                    .update_column(column("value"))
                    .to_owned(),
            )
            .to_owned();
        self.seen(self.inner().execute(&insert).await)?;
        Ok(())
    }

    pub(crate) async fn delete_metadata(&self, guid: &str) -> Result<(), StoreError> {
        let delete = SeaQuery::delete()
            .from_table(table())
            .and_where(Expr::col(column("resource_guid")).eq(guid))
            .to_owned();
        self.seen(self.inner().execute(&delete).await)?;
        Ok(())
    }
}
