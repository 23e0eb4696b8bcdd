# The short list of commands. Each is one line that can be typed as well.

.PHONY: help demo run test ci lint format bench

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: ## A rolling update under load, on this machine, about 20 seconds.
	cargo run --release -- demo

run: ## Run with the example configuration.
	cargo run --release -- run --config config/examples/standalone.yaml

test: ## All tests.
	cargo test --workspace

ci: ## What CI runs.
	bash .ci/run

lint: ## Lints as CI has them.
	cargo clippy --workspace --all-targets -- -D warnings

format: ## Format the code.
	cargo fmt --all

bench: ## Compare with HAProxy, nginx and Envoy on this machine (see benches/README.md).
	cargo run --release -p tidegate-benches -- compare
