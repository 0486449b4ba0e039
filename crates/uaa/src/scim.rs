//! Users: `/Users`, in the words of SCIM 1.0 as UAA speaks them.

use auth::Secret;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::user::{Column, Entity, Model};
use store::{Page, Query, StoreError, new_guid};
use tracing::info;

use crate::Uaa;
use crate::account::{ORIGIN, USER_SCOPES, by_guid, by_name, column, words};
use crate::bearer::Bearer;
use crate::error::UaaError;
use crate::filter::{self, Term};
use crate::seed::ADMIN;

const READ: &[&str] = &["scim.read", "scim.write", "uaa.admin"];
const WRITE: &[&str] = &["scim.write", "uaa.admin"];
const SCHEMA: &str = "urn:scim:schemas:core:1.0";
/// Rows of a page, at most.
const MAX_COUNT: u64 = 500;
/// Beyond any list; keeps the count of skipped rows within what databases count with.
const MAX_START: u64 = 1_000_000_000_000;
/// Longest name or address, characters.
const MAX_TEXT: usize = 255;

/// Query of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListQuery {
    filter: Option<String>,
    start_index: Option<u64>,
    count: Option<u64>,
}

/// Body of a new user. No `Debug`: it has the password.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewUser {
    user_name: Option<String>,
    password: Option<Secret>,
    origin: Option<String>,
    #[serde(default)]
    name: Name,
    #[serde(default)]
    emails: Vec<Email>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Name {
    given_name: Option<String>,
    family_name: Option<String>,
}

#[derive(Deserialize)]
struct Email {
    value: String,
    #[serde(default)]
    primary: bool,
}

/// `GET /Users`.
pub(crate) async fn list(
    State(uaa): State<Uaa>,
    bearer: Bearer,
    UrlQuery(asked): UrlQuery<ListQuery>,
) -> Result<Json<Value>, UaaError> {
    bearer.need(READ)?;
    let mut query = Query::<Entity>::new().ne(Column::Origin, "");
    if let Some(text) = asked.filter.as_deref().filter(|text| !text.trim().is_empty()) {
        let terms = filter::parse(text).ok_or_else(|| {
            let what = r#"Invalid filter expression: send userName eq "x", joined by and"#;
            UaaError::new(StatusCode::BAD_REQUEST, "scim", what)
        })?;
        for term in terms {
            query = match term {
                Term::Id(value) => query.eq(Column::Guid, value),
                Term::UserName(value) => query.eq(Column::Username, value),
                Term::Origin(value) => query.eq(Column::Origin, value),
                Term::Email(value) => query.eq(Column::Email, value),
            };
        }
    }
    let size = asked.count.unwrap_or(100).clamp(1, MAX_COUNT);
    let start = asked.start_index.unwrap_or(1).clamp(1, MAX_START);
    // A start inside a page is served from that page's first row, as UAA does.
    let number = (start - 1) / size + 1;
    let tx = uaa.store.read().await?;
    let (rows, total) = tx.page(query, Page { number, size }).await?;
    Ok(Json(json!({
        "resources": rows.iter().map(present).collect::<Vec<_>>(),
        "startIndex": start, "itemsPerPage": size, "totalResults": total, "schemas": [SCHEMA],
    })))
}

/// `POST /Users`.
pub(crate) async fn create(
    State(uaa): State<Uaa>,
    bearer: Bearer,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), UaaError> {
    bearer.need(WRITE)?;
    let new: NewUser = json_body(&body)?;
    let (mut row, password) = draft(new)?;
    let taken = || {
        UaaError::new(
            StatusCode::CONFLICT,
            "scim_resource_already_exists",
            "Username already in use",
        )
    };
    if by_name(&uaa.store.read().await?, &row.username).await?.is_some() {
        return Err(taken());
    }
    // Hashed before the write transaction: nothing else may be awaited in one.
    row.password_hash = Some(uaa.guard().hash(password).await?);
    let tx = uaa.store.write().await?;
    let row = match tx.insert::<Entity>(row).await {
        Ok(row) => row,
        Err(StoreError::Conflict { .. }) => return Err(taken()),
        Err(error) => return Err(error.into()),
    };
    tx.commit().await?;
    info!(user = %row.guid, by = %bearer.claims.sub, "user created");
    Ok((StatusCode::CREATED, Json(present(&row))))
}

/// `GET /Users/{id}`: with `scim.read`, or one's own.
pub(crate) async fn show(
    State(uaa): State<Uaa>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>, UaaError> {
    if !bearer.is_user(&id) {
        bearer.need(READ)?;
    }
    let row = by_guid(&uaa.store.read().await?, &id).await?;
    Ok(Json(present(&row.ok_or_else(|| UaaError::no_such_user(&id))?)))
}

/// `DELETE /Users/{id}`: the user, its roles and all its tokens.
pub(crate) async fn delete(
    State(uaa): State<Uaa>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>, UaaError> {
    bearer.need(WRITE)?;
    let tx = uaa.store.write().await?;
    let row = by_guid(&tx, &id).await?;
    let row = row.ok_or_else(|| UaaError::no_such_user(&id))?;
    if row.username == ADMIN && row.origin == ORIGIN {
        return Err(UaaError::invalid_user(
            "The user admin belongs to the platform and cannot be deleted: nobody could operate it any more",
        ));
    }
    tx.delete::<Entity>(&id).await?;
    tx.commit().await?;
    info!(user = %id, by = %bearer.claims.sub, "user deleted");
    Ok(Json(present(&row)))
}

/// Reads a JSON body. The text of a fault names fields, never their values.
pub(crate) fn json_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, UaaError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "a field is missing or has a wrong type",
            _ => "not valid JSON",
        };
        let at = format!("line {} column {}", error.line(), error.column());
        UaaError::invalid_user(format!("The body cannot be read: {what} at {at}"))
    })
}

fn draft(new: NewUser) -> Result<(Model, Secret), UaaError> {
    let username = new.user_name.unwrap_or_default();
    // UAA's rule for its own users. It keeps quotes, commas and control characters out of texts and filters.
    let fits = |c: char| c.is_alphanumeric() || "+-_.@'!".contains(c);
    if username.is_empty() || username.chars().count() > MAX_TEXT || !username.chars().all(fits) {
        return Err(UaaError::invalid_user(
            "The username must be 1 to 255 letters, digits or characters of + - _ . @ ' !",
        ));
    }
    let origin = new.origin.filter(|origin| !origin.is_empty());
    if origin.is_some_and(|origin| origin != ORIGIN) {
        return Err(UaaError::invalid_user(
            "The origin is unknown: this platform has the origin 'uaa' only",
        ));
    }
    let password = new.password.unwrap_or_else(|| Secret::new(""));
    if password.expose().is_empty() {
        return Err(UaaError::invalid_password("A password is required"));
    }
    let primary = new.emails.iter().find(|email| email.primary);
    let email = primary.or(new.emails.first()).map(|email| email.value.clone());
    let text = |text: Option<String>| match text {
        Some(text) if text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) => Err(
            UaaError::invalid_user("Names and addresses must be at most 255 printable characters"),
        ),
        text => Ok(text.unwrap_or_default()),
    };
    let row = Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        email: text(email.or_else(|| Some(username.clone())))?,
        username,
        origin: ORIGIN.to_owned(),
        password_hash: None,
        given_name: text(new.name.given_name)?,
        family_name: text(new.name.family_name)?,
        scopes: column(USER_SCOPES.iter().copied()),
        revision: 0,
        known_to_api: false,
    };
    Ok((row, password))
}

fn present(user: &Model) -> Value {
    let time = |micros: i64| {
        let time = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
        time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    };
    let group = |scope: String| json!({"value": scope, "display": scope, "type": "DIRECT"});
    json!({
        "id": user.guid,
        "meta": {
            "version": user.revision,
            "created": time(user.created_at), "lastModified": time(user.updated_at),
        },
        "userName": user.username,
        "name": {"familyName": user.family_name, "givenName": user.given_name},
        "emails": [{"value": user.email, "primary": true}],
        "groups": words(&user.scopes).into_iter().map(group).collect::<Vec<_>>(),
        "approvals": [],
        "active": true, "verified": true,
        "origin": user.origin, "zoneId": "uaa",
        "schemas": [SCHEMA],
    })
}
