//! Service discovery: register where a service is served, look it up, follow it.
//!
//! **Guarantees.** Those of [`Group`](super::Group): an instance is listed as long as its process lives and reaches a server.
//!
//! **Does not.** A listed instance may be dead for up to its session timeout: who calls it has to bear that.
//!
//! **Layout.** `BASE/<service>/<instance id>`, ephemeral, JSON with the fields of Curator's `ServiceInstance`; both find one another's
//! instances. Fields that we do not know are kept out of the way, and nodes without such JSON are not listed.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::cache::{CacheState, Changes, TreeCache};
use super::patience::{join, name_of};
use super::persistent_ephemeral::PersistentEphemeral;
use super::place::guid;
use super::sessions::Sessions;
use crate::Error;

/// Where a service is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInstance {
    /// The service.
    pub name: String,
    /// Which of its instances.
    pub id: String,
    /// A host name or address.
    pub address: String,
    /// Its port.
    pub port: Option<u16>,
    /// Its port with TLS.
    pub ssl_port: Option<u16>,
    /// What else it has to say.
    pub payload: Value,
    /// When it was registered, in milliseconds since 1970.
    pub registered_ms: i64,
}

impl ServiceInstance {
    /// An instance with an id of its own.
    pub fn new(name: impl Into<String>, address: impl Into<String>, port: u16) -> ServiceInstance {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ServiceInstance {
            name: name.into(),
            id: guid(),
            address: address.into(),
            port: Some(port),
            ssl_port: None,
            payload: Value::Null,
            registered_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn to_json(&self) -> Vec<u8> {
        let text = json!({
            "name": self.name,
            "id": self.id,
            "address": self.address,
            "port": self.port,
            "sslPort": self.ssl_port,
            "payload": self.payload,
            "registrationTimeUTC": self.registered_ms,
            "serviceType": "DYNAMIC",
            "uriSpec": null,
        });
        text.to_string().into_bytes()
    }

    fn from_json(data: &[u8]) -> Option<ServiceInstance> {
        let mut fields: Map<String, Value> = serde_json::from_slice(data).ok()?;
        let text = |name: &str| Some(fields.get(name)?.as_str()?.to_owned());
        let port = |name: &str| u16::try_from(fields.get(name)?.as_u64()?).ok();
        Some(ServiceInstance {
            name: text("name")?,
            id: text("id")?,
            address: text("address").unwrap_or_default(),
            port: port("port"),
            ssl_port: port("sslPort"),
            registered_ms: fields
                .get("registrationTimeUTC")
                .and_then(Value::as_i64)
                .unwrap_or_default(),
            payload: fields.remove("payload").unwrap_or_default(),
        })
    }
}

/// An instance that is listed until this is dropped or closed.
#[derive(Debug)]
#[must_use = "what is dropped is listed no longer"]
pub struct Registration {
    node: PersistentEphemeral,
}

impl Registration {
    /// Changes what is listed. The name and the id stay as they were.
    ///
    /// # Errors
    /// The server's refusal; a session that is lost and not replaced.
    pub async fn update(&self, instance: &ServiceInstance) -> Result<(), Error> {
        self.node.set(instance.to_json()).await
    }

    /// Is listed no longer, and waits until the others can see it.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn close(self) -> Result<(), Error> {
        self.node.close().await
    }
}

/// The services below a path.
///
/// ```no_run
/// # async fn example(client: oxikeeper_client::Client) -> Result<(), oxikeeper_client::Error> {
/// use oxikeeper_client::recipe::{Discovery, ServiceInstance};
///
/// let services = Discovery::start(&client, "/services").await?;
/// let ours = services.register(&ServiceInstance::new("billing", "10.0.0.7", 9000)).await?;
/// for instance in services.instances("billing") {
///     println!("{}:{:?}", instance.address, instance.port);
/// }
/// ours.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Discovery {
    sessions: Sessions,
    base: String,
    cache: TreeCache,
}

impl Discovery {
    /// Loads what is there, and follows it.
    ///
    /// # Errors
    /// The server's refusal; a session that is lost and not replaced.
    pub async fn start(
        sessions: impl Into<Sessions>,
        base: impl Into<String>,
    ) -> Result<Discovery, Error> {
        let (sessions, base) = (sessions.into(), base.into());
        let cache = TreeCache::start(&sessions, base.clone());
        cache.ready().await?;
        Ok(Discovery { sessions, base, cache })
    }

    /// Lists an instance, and waits until the others can see it.
    ///
    /// # Errors
    /// The server's refusal; a session that is lost and not replaced.
    pub async fn register(&self, instance: &ServiceInstance) -> Result<Registration, Error> {
        let path = join(&join(&self.base, &instance.name), &instance.id);
        let node = PersistentEphemeral::start(&self.sessions, path, instance.to_json());
        node.present().await?;
        Ok(Registration { node })
    }

    /// The names of all services that have or had instances.
    pub fn names(&self) -> Vec<String> {
        self.cache.children(&self.base)
    }

    /// The instances of a service, by their ids.
    pub fn instances(&self, name: &str) -> Vec<ServiceInstance> {
        self.cache.with(|nodes| instances(&join(&self.base, name), nodes))
    }

    /// Waits until the instances of a service are as `look` wants them.
    ///
    /// # Errors
    /// If the list follows no longer.
    pub async fn until<R>(
        &self,
        name: &str,
        look: impl Fn(&[ServiceInstance]) -> Option<R>,
    ) -> Result<R, Error> {
        let dir = join(&self.base, name);
        self.cache.until(|nodes| look(&instances(&dir, nodes))).await
    }

    /// Tells of changes from now on, of any service.
    pub fn changes(&self) -> Changes {
        self.cache.changes()
    }

    /// Whether the list follows, or may lag.
    pub fn state(&self) -> CacheState {
        self.cache.state()
    }
}

fn instances(dir: &str, nodes: &BTreeMap<String, super::Entry>) -> Vec<ServiceInstance> {
    let prefix = join(dir, "");
    let below = nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    below
        .filter(|(path, _)| path.len() == prefix.len() + name_of(path).len())
        .filter_map(|(_, entry)| ServiceInstance::from_json(&entry.data))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_survives_its_json() {
        let mut instance = ServiceInstance::new("billing", "10.0.0.7", 9000);
        instance.payload = json!({ "zone": "b" });
        assert_eq!(ServiceInstance::from_json(&instance.to_json()), Some(instance));
    }

    #[test]
    fn curators_json_is_understood() {
        let text = br#"{"name":"a","id":"1","address":"h","port":80,"sslPort":null,"payload":null,
            "registrationTimeUTC":1325129459728,"serviceType":"DYNAMIC","uriSpec":null,"enabled":true}"#;
        let instance = ServiceInstance::from_json(text).expect("it is one");
        assert_eq!((instance.port, instance.ssl_port), (Some(80), None));
        assert_eq!(ServiceInstance::from_json(b"no json"), None);
        assert_eq!(ServiceInstance::from_json(b"{}"), None);
    }
}
