-- What the operator says about registries at run time: one row at most.
CREATE TABLE registry_settings (
    id {id}, guid {text} NOT NULL UNIQUE, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    version bigint NOT NULL, document {text} NOT NULL
)
