//! The examples of the client library, as a reader runs them, on our server and on two of Apache's.

use oxikeeper_interop::server::{Kind, Server};

#[path = "../../client/examples/operations.rs"]
#[allow(dead_code, reason = "a program, whose main is not called here")]
mod operations;
#[path = "../../client/examples/recipes.rs"]
#[allow(dead_code, reason = "a program, whose main is not called here")]
mod recipes;

#[tokio::test]
async fn every_example_works_everywhere() {
    for kind in [Kind::Oxikeeper, Kind::APACHE, Kind::Apache("3.8.0")] {
        println!("against {}", kind.name());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let settings = "-Dzookeeper.extendedTypesEnabled=true\n";
        let server = Server::start(kind, dir.path(), settings);
        let connect = server.address().to_string();
        operations::run(&connect).await.expect("the operations");
        recipes::run(&connect).await.expect("the recipes");
    }
}
