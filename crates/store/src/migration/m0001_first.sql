-- Times are microseconds since 1970, UTC. `id` gives insertion order; `guid` is the public name.
-- Columns that end in _sealed hold ciphertext (auth::Sealer).
-- {id} and {text} stand for the engine's type: text is compared and sorted by its bytes on both.

CREATE TABLE organization (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    name {text} NOT NULL UNIQUE, suspended boolean NOT NULL, quota_guid {text} NOT NULL
);
CREATE TABLE organization_quota (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    name {text} NOT NULL UNIQUE
);
CREATE TABLE space (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    name {text} NOT NULL, org_guid {text} NOT NULL REFERENCES organization (guid) ON DELETE CASCADE,
    ssh_allowed boolean NOT NULL,
    UNIQUE (org_guid, name)
);
CREATE TABLE account (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    username {text} NOT NULL, origin {text} NOT NULL, password_hash {text}, email {text} NOT NULL,
    given_name {text} NOT NULL, family_name {text} NOT NULL,
    scopes {text} NOT NULL, revision bigint NOT NULL, known_to_api boolean NOT NULL,
    UNIQUE (username, origin)
);
CREATE TABLE oauth_client (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    secret_hash {text} NOT NULL, grants {text} NOT NULL, scopes {text} NOT NULL, authorities {text} NOT NULL,
    access_seconds bigint NOT NULL, refresh_seconds bigint NOT NULL
);
CREATE TABLE role (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    kind {text} NOT NULL, user_guid {text} NOT NULL REFERENCES account (guid) ON DELETE CASCADE,
    org_guid {text} NOT NULL REFERENCES organization (guid) ON DELETE CASCADE,
    space_guid {text} NOT NULL,
    UNIQUE (user_guid, kind, org_guid, space_guid)
);
CREATE TABLE feature_flag (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    enabled boolean NOT NULL, changed boolean NOT NULL, custom_error_message {text}
);
CREATE TABLE domain (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    name {text} NOT NULL UNIQUE, internal boolean NOT NULL,
    org_guid {text} REFERENCES organization (guid) ON DELETE CASCADE
);
CREATE TABLE domain_share (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    domain_guid {text} NOT NULL REFERENCES domain (guid) ON DELETE CASCADE,
    org_guid {text} NOT NULL REFERENCES organization (guid) ON DELETE CASCADE,
    UNIQUE (domain_guid, org_guid)
);
CREATE TABLE route (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    host {text} NOT NULL, path {text} NOT NULL,
    domain_guid {text} NOT NULL REFERENCES domain (guid) ON DELETE CASCADE,
    space_guid {text} NOT NULL REFERENCES space (guid) ON DELETE CASCADE,
    options {text} NOT NULL,
    UNIQUE (domain_guid, host, path)
);
CREATE INDEX route_space ON route (space_guid);
CREATE TABLE app (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    name {text} NOT NULL, space_guid {text} NOT NULL REFERENCES space (guid) ON DELETE CASCADE,
    state {text} NOT NULL, lifecycle {text} NOT NULL, droplet_guid {text},
    env_sealed {text} NOT NULL, ssh_enabled boolean NOT NULL, revisions_enabled boolean NOT NULL,
    UNIQUE (space_guid, name)
);
CREATE TABLE destination (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    route_guid {text} NOT NULL REFERENCES route (guid) ON DELETE CASCADE,
    app_guid {text} NOT NULL REFERENCES app (guid) ON DELETE CASCADE,
    process_type {text} NOT NULL, port bigint, protocol {text} NOT NULL
);
CREATE INDEX destination_route ON destination (route_guid);
CREATE INDEX destination_app ON destination (app_guid);
CREATE TABLE process (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    app_guid {text} NOT NULL REFERENCES app (guid) ON DELETE CASCADE,
    kind {text} NOT NULL, version {text} NOT NULL, command {text}, run_as {text},
    instances bigint NOT NULL, memory_mb bigint NOT NULL, disk_mb bigint NOT NULL, log_rate_limit bigint NOT NULL,
    health_type {text} NOT NULL, health_endpoint {text}, health_timeout bigint, health_invocation_timeout bigint,
    health_interval bigint,
    readiness_type {text} NOT NULL, readiness_endpoint {text}, readiness_invocation_timeout bigint,
    readiness_interval bigint,
    UNIQUE (app_guid, kind)
);
CREATE TABLE package (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    app_guid {text} NOT NULL REFERENCES app (guid) ON DELETE CASCADE,
    kind {text} NOT NULL, state {text} NOT NULL, image {text} NOT NULL, username {text}, password_sealed {text}, error {text}
);
CREATE INDEX package_app ON package (app_guid);
CREATE TABLE build (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    app_guid {text} NOT NULL REFERENCES app (guid) ON DELETE CASCADE,
    package_guid {text} NOT NULL, droplet_guid {text}, state {text} NOT NULL, error {text},
    memory_mb bigint NOT NULL, disk_mb bigint NOT NULL,
    created_by_guid {text} NOT NULL, created_by_name {text} NOT NULL
);
CREATE INDEX build_app ON build (app_guid);
CREATE INDEX build_state ON build (state);
CREATE TABLE droplet (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    app_guid {text} NOT NULL REFERENCES app (guid) ON DELETE CASCADE,
    package_guid {text} NOT NULL, build_guid {text} NOT NULL, state {text} NOT NULL, error {text},
    image {text} NOT NULL, index_digest {text}, manifest_digest {text} NOT NULL,
    layers {text} NOT NULL, config {text} NOT NULL, process_types {text} NOT NULL, execution_metadata {text} NOT NULL,
    username {text}, password_sealed {text}
);
CREATE INDEX droplet_app ON droplet (app_guid);
CREATE TABLE desired_lrp (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    process_guid {text} NOT NULL UNIQUE REFERENCES process (guid) ON DELETE CASCADE,
    app_guid {text} NOT NULL, lifecycle {text} NOT NULL, memory_mb bigint NOT NULL, disk_mb bigint NOT NULL,
    spec_sealed {text} NOT NULL
);
CREATE TABLE actual_lrp (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    process_guid {text} NOT NULL, process_version {text} NOT NULL, instance_index bigint NOT NULL,
    state {text} NOT NULL, cell_id {text}, address {text}, ports {text} NOT NULL, ready boolean NOT NULL,
    since_ns bigint NOT NULL, memory_mb bigint NOT NULL, disk_mb bigint NOT NULL, crash_count bigint NOT NULL, crash_reason {text}, placement_error {text}, retry_at_ns bigint
);
CREATE INDEX actual_lrp_process ON actual_lrp (process_guid);
CREATE TABLE job (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    operation {text} NOT NULL, state {text} NOT NULL, owner_guid {text} NOT NULL, errors {text} NOT NULL, warnings {text} NOT NULL
);
CREATE TABLE audit_event (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    kind {text} NOT NULL, actor_guid {text} NOT NULL, actor_kind {text} NOT NULL, actor_name {text} NOT NULL,
    target_guid {text} NOT NULL, target_kind {text} NOT NULL, target_name {text} NOT NULL,
    data {text} NOT NULL, space_guid {text}, org_guid {text}
);
CREATE INDEX audit_event_target ON audit_event (target_guid);
CREATE TABLE metadata (
    id {id}, resource_guid {text} NOT NULL, kind {text} NOT NULL, name {text} NOT NULL, value {text} NOT NULL,
    UNIQUE (resource_guid, kind, name)
)
