//! The examples of the client library, as a reader runs them, on our server and on Apache's.

use oxikeeper_interop::server::{Kind, Server};

#[path = "../../client/examples/operations.rs"]
#[allow(dead_code, reason = "a program, whose main is not called here")]
mod operations;
#[path = "../../client/examples/recipes.rs"]
#[allow(dead_code, reason = "a program, whose main is not called here")]
mod recipes;

#[tokio::test]
async fn every_example_works_on_both() {
    for kind in [Kind::Oxikeeper, Kind::APACHE] {
        println!("against {}", kind.name());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let settings = "-Dzookeeper.extendedTypesEnabled=true\n";
        let server = Server::start(kind, dir.path(), settings);
        let connect = server.address().to_string();
        operations::run(&connect).await.expect("the operations");
        recipes::run(&connect).await.expect("the recipes");
    }
}
