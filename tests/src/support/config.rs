//! A proxy's configuration, as JSON, which is YAML too.

use serde_json::{Value, json};

/// A `ProxyConfiguration`. From the beginning it has a listener `web` on a port that the kernel chooses, for port
/// `http` of `default/web`, an admin socket and a slice directory beside its own directory, two workers and no shutdown delay.
#[derive(Clone, Debug)]
pub struct Config(Value);

impl Default for Config {
    fn default() -> Self {
        Self(json!({
            "apiVersion": "tidegate.io/v1alpha1",
            "kind": "ProxyConfiguration",
            "workers": 2,
            "admin": {"address": "unix:../admin.sock"},
            "source": {"endpointSliceDirectory": "../endpoints"},
            "listeners": [
                {"name": "web", "address": "127.0.0.1:0", "service": "default/web", "port": "http"},
            ],
            "services": [],
            "shutdown": {"delay": "0s"},
        }))
    }
}

impl Config {
    /// Sets a field of the document's top.
    pub fn set(&mut self, field: &str, value: Value) {
        self.0[field] = value;
    }

    /// Takes a field of the document's top out.
    pub fn unset(&mut self, field: &str) {
        self.0.as_object_mut().expect("the document is a map").remove(field);
    }

    /// Adds a listener for port `http` of a service, or replaces the one of that name.
    pub fn listener(&mut self, name: &str, address: &str, service: &str) {
        self.remove_listener(name);
        self.list("listeners")
            .push(json!({"name": name, "address": address, "service": service, "port": "http"}));
    }

    /// Takes a listener out.
    pub fn remove_listener(&mut self, name: &str) {
        self.list("listeners").retain(|listener| listener["name"] != name);
    }

    /// Adds a service's settings, or replaces them.
    pub fn service(&mut self, name: &str, mut settings: Value) {
        settings["name"] = json!(name);
        let services = self.list("services");
        services.retain(|service| service["name"] != name);
        services.push(settings);
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.0)
    }

    fn list(&mut self, field: &str) -> &mut Vec<Value> {
        self.0[field].as_array_mut().expect("the field is a list")
    }
}
