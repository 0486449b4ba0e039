//! `images`: what the cells keep of images, and who uses it.

use serde_json::Value;

use crate::command::{Command, Group};
use crate::error::Result;
use crate::json::Json;
use crate::session::Session;
use crate::table::Table;
use crate::{time, units};

/// Hexadecimal digits of a digest that are shown.
const SHORT: usize = 12;
/// Apps that are named; more are counted.
const NAMED: usize = 3;

pub const COMMANDS: &[Command] = &[Command {
    name: "images",
    alias: "",
    summary: "List the images kept on the platform's cells, their sizes and their users (admins)",
    usage: "images",
    group: Group::Platform,
    positionals: &[],
    flags: &[],
    run: |session, _| Box::pin(list(session)),
}];

async fn list(session: &Session) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    ui.line(&format!("Getting images as {}...", ui.name(&user)));
    let reply = session.api.get("/slipway/v1/images", &[]).await?;
    for cell in reply.items("/cells") {
        ui.line(&format!("\ncell {}", ui.name(cell.guid())));
        let images = cell.items("/images");
        if images.is_empty() {
            ui.line("No images found.");
            continue;
        }
        let header = [
            "image",
            "digest",
            "size",
            "exclusive",
            "layers",
            "used by",
            "last used",
        ];
        let mut table = Table::with_header(&header);
        for image in images {
            table.row(row(image, |text| time::friendly(text, &session.zone)));
        }
        table.print(ui);
    }
    Ok(())
}

fn row(image: &Value, friendly: impl Fn(&str) -> String) -> [String; 7] {
    let digest = image.text("/digest");
    let digest = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    [
        image.text("/reference").to_owned(),
        digest.chars().take(SHORT).collect(),
        units::size(image.number("/bytes")),
        units::size(image.number("/exclusive_bytes")),
        image.number("/layers").to_string(),
        users(image.items("/users")),
        match image.text("/last_used_at") {
            "" => String::new(),
            text => friendly(text),
        },
    ]
}

fn users(users: &[Value]) -> String {
    let name = |user: &Value| match user.number("/instances") {
        0 | 1 => user.text("/app/name").to_owned(),
        instances => format!("{} ({instances})", user.text("/app/name")),
    };
    let mut names: Vec<String> = users.iter().take(NAMED).map(name).collect();
    if users.len() > NAMED {
        names.push(format!("{} more", users.len() - NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_is_short_and_complete() {
        let user = |name: &str, instances: u64| json!({"app": {"name": name}, "instances": instances});
        let image = json!({
            "reference": "docker.io/library/nginx:1.27", "digest": format!("sha256:{}", "ab".repeat(32)),
            "bytes": 150 << 20, "exclusive_bytes": 1536, "layers": 7, "last_used_at": "2026-01-02T03:04:05Z",
            "users": [user("shop", 2), user("blog", 1), user("a", 1), user("b", 1), user("c", 1)],
        });
        let row = row(&image, str::to_owned);
        assert_eq!(
            row,
            [
                "docker.io/library/nginx:1.27",
                "abababababab",
                "150M",
                "1.5K",
                "7",
                "shop (2), blog, a, 2 more",
                "2026-01-02T03:04:05Z"
            ]
        );
    }
}
