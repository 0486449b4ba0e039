//! Mistakes on the command line, and help.

use crate::server::Server;
use crate::terminal::Person;

#[tokio::test]
async fn mistakes_are_explained_and_end_with_one() {
    let person = Person::new();
    let done = person.run("app").await.ends(1);
    done.complains("Incorrect Usage: the required argument `APP_NAME` was not provided")
        .says(&["NAME:", "cf app APP_NAME"]);
    person
        .run("scale a -i x")
        .await
        .ends(1)
        .complains("Incorrect Usage: invalid argument for flag");
    let done = person.run("app a b").await.ends(1);
    done.complains("Incorrect Usage: unexpected argument \"b\"")
        .says(&["FAILED", "NAME:"]);
    let done = person.run("psuh x").await.ends(1);
    done.complains("'psuh' is not a registered command. See 'cf help -a'")
        .complains("Did you mean?\n  push");
}

#[tokio::test]
async fn help_is_grouped_and_needs_no_server() {
    let person = Person::new();
    for line in ["", "help", "help -a", "-h", "--help"] {
        person.run(line).await.ends(0).says(&[
            "GETTING STARTED",
            "login, l",
            "APPS",
            "push, p",
            "ORGS AND SPACES",
        ]);
    }
    for line in ["help push", "push -h", "push x --help", "h p"] {
        person.run(line).await.ends(0).says(&[
            "push - Push a new app",
            "cf push APP_NAME",
            "-o, --docker-image",
        ]);
    }
    for line in ["version", "-v", "--version"] {
        assert_eq!(person.run(line).await.ends(0).out, "cf version 1.2.3\n");
    }
}

#[tokio::test]
async fn commands_are_known_by_name_and_alias() {
    assert!(client::is_command("push") && client::is_command("p") && !client::is_command("up"));
    assert!(
        client::commands()
            .iter()
            .any(|(name, alias, summary)| *name == "apps" && *alias == "a" && !summary.is_empty())
    );
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    person.run("t").await.ends(0);
    person.run("o").await.ends(0);
}
