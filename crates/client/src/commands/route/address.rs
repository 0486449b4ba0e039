//! A route as a command line names it: host, domain, path, port.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::grammar::Args;
use crate::json::{Json, related};
use crate::session::Session;

/// A route as a command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    domain: String,
    host: String,
    path: String,
    port: Option<u64>,
}

impl Address {
    /// The route that the flags of a command line name, of a domain.
    pub fn of(args: &Args, domain: &str) -> Self {
        let path = args.text("path");
        let path = if path.is_empty() || path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Self {
            domain: domain.to_owned(),
            host: args.text("hostname").to_owned(),
            path,
            port: args.count("port"),
        }
    }

    /// How people write it.
    pub fn url(&self) -> String {
        let dot = if self.host.is_empty() { "" } else { "." };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{dot}{}{}{port}", self.host, self.domain, self.path)
    }

    /// The error that says it does not exist.
    pub fn missing(&self) -> Error {
        let Self {
            domain,
            host,
            path,
            port,
        } = self;
        Error::NotFound(match port {
            Some(port) => format!("Route with domain '{domain}' and port {port} not found."),
            None => {
                let path = if path.is_empty() { "/" } else { path };
                format!("Route with host '{host}', domain '{domain}', and path '{path}' not found.")
            }
        })
    }

    /// The route, if it exists.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn find(&self, session: &Session, domain: &Value) -> Result<Option<Value>> {
        let port = self.port.unwrap_or_default().to_string();
        let mut query = vec![
            ("domain_guids", domain.guid()),
            ("hosts", &*self.host),
            ("paths", &*self.path),
        ];
        if domain
            .items("/supported_protocols")
            .iter()
            .any(|protocol| protocol == "tcp")
        {
            query.push(("ports", &port));
        }
        session.first("/v3/routes", &query).await
    }

    /// Creates the route.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn create(
        &self,
        session: &Session,
        domain: &Value,
        space: &str,
        options: Map<String, Value>,
    ) -> Result<Value> {
        let relationships = json!({ "space": related(space), "domain": related(domain.guid()) });
        let mut body = Map::new();
        body.insert("relationships".into(), relationships);
        for (key, value) in [("host", &self.host), ("path", &self.path)] {
            if !value.is_empty() {
                body.insert(key.into(), json!(value));
            }
        }
        if let Some(port) = self.port {
            body.insert("port".into(), json!(port));
        }
        if !options.is_empty() {
            body.insert("options".into(), Value::Object(options));
        }
        session.api.post("/v3/routes", &Value::Object(body)).await?.json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_like_urls() {
        let mut address = Address {
            domain: "a.example".into(),
            host: "shop".into(),
            path: "/v1".into(),
            port: None,
        };
        assert_eq!(address.url(), "shop.a.example/v1");
        assert!(address.missing().to_string().contains("path '/v1'"));
        address = Address {
            domain: "tcp.example".into(),
            host: String::new(),
            path: String::new(),
            port: Some(1024),
        };
        assert_eq!(address.url(), "tcp.example:1024");
    }
}
