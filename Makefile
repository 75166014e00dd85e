# The ways in: `make run` shows the main job on a virtual rack, `make test` runs every check.

CARGO  ?= cargo
TARGET := x86_64-unknown-linux-gnu
OUT    := $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/release
ROUNDS ?= 10

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

.PHONY: build
build: ## the static binary, release profile
	$(CARGO) build --release --locked --bin firstlight
	@echo "built $(OUT)/firstlight"

.PHONY: run
run: ## two virtual servers from power-on to ready, watched live
	tests/setup.sh run
	$(CARGO) build --release --locked --bin firstlight --example virtual-rack
	$(OUT)/examples/virtual-rack --firstlight $(OUT)/firstlight

.PHONY: test
test: setup check build-tests unit-lib suites test-apply test-power fuzz ## every check there is
	@echo "all checks passed"

.PHONY: setup
setup: ## what the tests need, from the distribution
	tests/setup.sh test

.PHONY: check
check: ## formatting and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

.PHONY: build-tests
build-tests: ## compiles every test in one go
	$(CARGO) build --release --locked --bin firstlight --examples
	$(CARGO) test --release --locked --no-run --lib --bins --tests

# What side-by-side.sh is told: suites that live on the virtual rack, one test at a time, and all others; the longest first.
RACK := '--test-threads 1' install cluster hardware agent boot hosts dhcp_proxy rack_selftest
UNIT := '--test-threads 2' trust dhcp_v6 dhcp_clients watch packages_mirror packages_dnf dhcp_networks dhcp_flood dhcp_crash docs \
	disk_image bad_input cli packages_apt names jobs retire boot_plane image_import timeline bundles cluster_rules cluster_fleet

.PHONY: unit-lib
unit-lib: build-tests
	$(CARGO) test --release --locked --lib --bins

.PHONY: suites
suites: build-tests
	tests/side-by-side.sh $(RACK) $(UNIT)

.PHONY: unit
unit: unit-lib test-apply ## tests without firmware: tables, properties, real clients in namespaces
	tests/side-by-side.sh $(UNIT)

ROOTFS := $(or $(CARGO_TARGET_DIR),target)/rootfs.tar

$(ROOTFS):
	mmdebstrap --quiet --format=tar --variant=apt bookworm $@.new && mv $@.new $@

# The same with dnf, Ansible, and what the bundle base sets up.
ROOTFS_DNF := $(or $(CARGO_TARGET_DIR),target)/rootfs-dnf-1.tar

$(ROOTFS_DNF):
	mmdebstrap --quiet --format=tar --variant=apt \
		--include=dnf,rpm,ansible-core,systemd-standalone-sysusers,procps,sudo,openssh-server bookworm $@.new && mv $@.new $@

.PHONY: test-apply
test-apply: build-tests $(ROOTFS) $(ROOTFS_DNF) ## bundles with packages in a Debian tree: real apt, killed at every step; real dnf and Ansible
	FIRSTLIGHT_TEST_ROOTFS=$(abspath $(ROOTFS)) FIRSTLIGHT_TEST_ROOTFS_DNF=$(abspath $(ROOTFS_DNF)) \
		$(CARGO) test --release --locked --lib -- --ignored --test-threads 1 \
		apply::tests::apt apply::tests::dnf apply::tests::base crash::at_every_step_with_packages

.PHONY: rack-tests
rack-tests: build-tests ## tests with real firmware on the virtual rack
	tests/side-by-side.sh $(RACK)

.PHONY: test-install-cuts
test-install-cuts: build-tests ## ten power cuts in the middle of an installation
	$(CARGO) test --release --locked --test install -- --nocapture gone_on_with_after_ten_power_cuts

.PHONY: test-dhcp-crash
test-dhcp-crash: build-tests ## kill -9 in the middle of perfdhcp; CRASHES=50 times
	ROUNDS=$(or $(CRASHES),50) $(CARGO) test --release --locked --test dhcp_crash -- --nocapture

.PHONY: test-power
test-power: build-tests ## power cuts on a virtual disk; ROUNDS=200 for a long run
	ROUNDS=$(ROUNDS) $(CARGO) test --release --locked --test power_cut -- --nocapture --test-threads 1

.PHONY: fuzz
fuzz: ## every parser edge, 30 s each; SECONDS_EACH=600 for a long run
	tests/fuzz.sh

.PHONY: bench
bench: ## ratios against dnsmasq and nginx, measured side by side
	tests/setup.sh bench
	$(CARGO) bench --locked --bench compare

.PHONY: bench-dhcp
bench-dhcp: ## DHCP beside Kea and dnsmasq, with perfdhcp
	tests/setup.sh bench
	$(CARGO) bench --locked --bench dhcp

.PHONY: bench-agents
bench-agents: ## ten thousand agents against one appliance; AGENTS=1000 for fewer
	tests/setup.sh test
	$(CARGO) bench --locked --bench agents

.PHONY: bench-install
bench-install: ## an installation beside `curl | zstd -dc | dd`, in the same virtual server
	tests/setup.sh test
	$(CARGO) build --release --locked --example disk-writer
	$(CARGO) bench --locked --bench install

.PHONY: install
install: build ## binary, systemd unit, man pages and completions below $(DESTDIR)
	install -Dm755 $(OUT)/firstlight $(DESTDIR)/usr/local/bin/firstlight
	install -Dm644 systemd/firstlight.service $(DESTDIR)/etc/systemd/system/firstlight.service
	install -d $(DESTDIR)/usr/local/share/man/man1 $(DESTDIR)/usr/local/share/bash-completion/completions
	$(OUT)/firstlight man $(DESTDIR)/usr/local/share/man/man1
	$(OUT)/firstlight completions bash > $(DESTDIR)/usr/local/share/bash-completion/completions/firstlight
