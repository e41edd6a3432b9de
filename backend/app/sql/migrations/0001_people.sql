-- Who exists: tenants, their admins and players, what was done by whom, and which flags are set.

-- Time-ordered ids (RFC 9562 §5.7) so that new index entries land on the right-hand page. PostgreSQL 18 has its own;
-- older servers get the same layout: 48 bits of milliseconds, then version, variant and random bits.
DO $$
BEGIN
    IF current_setting('server_version_num')::INTEGER >= 180000 THEN
        CREATE FUNCTION uuid_v7() RETURNS UUID LANGUAGE SQL VOLATILE PARALLEL SAFE
        AS 'SELECT uuidv7()';
    ELSE
        CREATE FUNCTION uuid_v7() RETURNS UUID LANGUAGE SQL VOLATILE PARALLEL SAFE
        AS $fn$
            SELECT encode(
                set_bit(set_bit(
                    overlay(
                        uuid_send(gen_random_uuid())
                        PLACING substring(int8send(floor(extract(EPOCH FROM clock_timestamp()) * 1000)::BIGINT) FROM 3)
                        FROM 1 FOR 6
                    ), 52, 1), 53, 1),
                'hex')::UUID
        $fn$;
    END IF;
END
$$;

-- Money and evidence tables are append-only for every role that is not a superuser, whatever it was granted.
CREATE FUNCTION refuse_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused; write a correcting row instead', tg_table_name, tg_op
        USING ERRCODE = 'restrict_violation';
END
$$;

-- Domains, not table checks: a table's checks are parsed and run again on every update of any column, and players and
-- ledger rows are written on the money path; a domain is checked when its own column is.
CREATE DOMAIN currency_code AS TEXT CHECK (VALUE ~ '^[A-Z]{3}$');
CREATE DOMAIN email_address AS TEXT CHECK (VALUE = lower(VALUE) AND VALUE LIKE '_%@_%' AND char_length(VALUE) <= 254);
CREATE DOMAIN kyc_status AS TEXT CHECK (VALUE IN ('pending', 'verified', 'rejected'));
CREATE DOMAIN arbiter_side AS TEXT CHECK (VALUE IN ('legacy', 'ledger'));

CREATE TABLE tenants (
    id UUID NOT NULL DEFAULT uuid_v7(),
    -- The small number keys the tenant's advisory-lock fence: hashing a uuid could make strangers wait for each other.
    number INTEGER GENERATED ALWAYS AS IDENTITY,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    base_currency CURRENCY_CODE NOT NULL,
    flags JSONB NOT NULL DEFAULT '{}',
    -- Counts the flips of the arbiter; every decision records the epoch it was made in.
    epoch INTEGER NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_number_key UNIQUE (number),
    CONSTRAINT tenants_slug_key UNIQUE (slug),
    CONSTRAINT tenants_slug_check CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT tenants_name_check CHECK (char_length(name) BETWEEN 1 AND 200),
    CONSTRAINT tenants_flags_check CHECK (
        jsonb_typeof(flags) = 'object'
        AND coalesce(flags -> 'ledger_enforce_override', 'null'::JSONB) IN ('true'::JSONB, 'false'::JSONB, 'null'::JSONB)
        AND coalesce(flags -> 'ledger_shadow_override', 'null'::JSONB) IN ('true'::JSONB, 'false'::JSONB, 'null'::JSONB)
    )
);

CREATE TABLE admins (
    id UUID NOT NULL DEFAULT uuid_v7(),
    tenant_id UUID,
    email EMAIL_ADDRESS NOT NULL,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT admins_pkey PRIMARY KEY (id),
    CONSTRAINT admins_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT admins_role_check CHECK (role IN ('owner', 'tenant_admin', 'finance', 'approver', 'recon', 'viewer')),
    -- The platform owner belongs to no tenant; everybody else to exactly one.
    CONSTRAINT admins_scope_check CHECK ((role = 'owner') = (tenant_id IS NULL))
);
CREATE UNIQUE INDEX admins_email_key ON admins (email);
CREATE INDEX admins_tenant_index ON admins (tenant_id, id DESC);

-- balance_real_* are the legacy balances: minor units, written by the ledger's one door and, during a migration, by
-- the operator's other systems. They carry no CHECK: a shadow must never veto, and drift is detected, not prevented.
CREATE TABLE players (
    id UUID NOT NULL DEFAULT uuid_v7(),
    tenant_id UUID NOT NULL,
    external_id TEXT,
    email EMAIL_ADDRESS NOT NULL,
    username TEXT NOT NULL,
    password_hash TEXT,
    currency CURRENCY_CODE NOT NULL,
    kyc_status KYC_STATUS NOT NULL DEFAULT 'pending',
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    balance_real_available BIGINT NOT NULL DEFAULT 0,
    balance_real_held BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT players_pkey PRIMARY KEY (id),
    CONSTRAINT players_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX players_email_key ON players (tenant_id, email);
CREATE UNIQUE INDEX players_external_id_key ON players (tenant_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX players_tenant_index ON players (tenant_id, id DESC);

CREATE TABLE audit_events (
    id UUID NOT NULL DEFAULT uuid_v7(),
    tenant_id UUID,
    actor_kind TEXT NOT NULL,
    actor_id UUID,
    actor_label TEXT NOT NULL,
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    reason TEXT,
    state_before JSONB,
    state_after JSONB,
    request_id TEXT,
    client_address TEXT,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT audit_events_pkey PRIMARY KEY (id),
    CONSTRAINT audit_events_actor_kind_check CHECK (actor_kind IN ('admin', 'player', 'operator', 'system'))
);
CREATE INDEX audit_events_tenant_index ON audit_events (tenant_id, id DESC);
CREATE INDEX audit_events_object_index ON audit_events (object_id, id DESC);
CREATE INDEX audit_events_action_index ON audit_events (tenant_id, action, id DESC);
CREATE INDEX audit_events_actor_index ON audit_events (tenant_id, actor_label, id DESC);
CREATE INDEX audit_events_actor_id_index ON audit_events (tenant_id, actor_id, id DESC) WHERE actor_id IS NOT NULL;
-- What one person did of one kind: seldom done by somebody who does much else, it is not found along either index above.
CREATE INDEX audit_events_deed_index ON audit_events (tenant_id, actor_label, action, id DESC);
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Failed sign-ins per subject (an account, or a client address), so that throttling holds across processes.
CREATE TABLE sign_in_failures (
    subject TEXT NOT NULL,
    failures INTEGER NOT NULL,
    window_started_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT sign_in_failures_pkey PRIMARY KEY (subject)
);
CREATE INDEX sign_in_failures_window_index ON sign_in_failures (window_started_at);

-- The flags that exist, their default in code, and whether an explicit False in the environment beats everything.
CREATE TABLE flags (
    flag TEXT NOT NULL,
    default_value BOOLEAN NOT NULL,
    environment_false_wins BOOLEAN NOT NULL,
    CONSTRAINT flags_pkey PRIMARY KEY (flag)
);
INSERT INTO flags (flag, default_value, environment_false_wins) VALUES
('ledger_shadow_write', TRUE, FALSE),
('ledger_enforce_balance', FALSE, TRUE),
('ledger_balance_mismatch_log', TRUE, FALSE),
('webhook_signature_enforced', FALSE, TRUE);

-- The processes that run, and what their environment says. A process is alive while its session holds the advisory lock
-- of its number; the statements of a dead one are swept by the next process that starts, never by a timer (enforcement
-- that the environment switched off must not come back because a process crashed).
CREATE TABLE service_instances (
    number INTEGER GENERATED ALWAYS AS IDENTITY,
    app_version TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT service_instances_pkey PRIMARY KEY (number)
);

-- Explicit flag values above the default: what a running process has in its environment, what was set in the database.
-- What the door reads of a tenant stands in tenants.flags (ledger_enforce_override, ledger_shadow_override), because it is
-- read by the tenant's key in every posting; the row of scope 'tenant' here then says who set it, why and until when.
CREATE TABLE flag_settings (
    flag TEXT NOT NULL,
    scope TEXT NOT NULL,
    holder TEXT NOT NULL DEFAULT '',
    value BOOLEAN NOT NULL,
    reason TEXT,
    set_by TEXT NOT NULL,
    set_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ,
    CONSTRAINT flag_settings_pkey PRIMARY KEY (flag, scope, holder),
    CONSTRAINT flag_settings_flag_fkey FOREIGN KEY (flag) REFERENCES flags (flag),
    CONSTRAINT flag_settings_scope_check CHECK (scope IN ('environment', 'global', 'tenant', 'provider')),
    -- One global value for a flag, and none of an environment that ends by the clock: platform_modes keeps both as they
    -- are said, and leaves only the global one's end to be looked at by its readers.
    CONSTRAINT flag_settings_global_check CHECK (scope <> 'global' OR holder = ''),
    CONSTRAINT flag_settings_expiry_check CHECK (scope <> 'environment' OR expires_at IS NULL)
);

GRANT SELECT ON tenants, admins, players, audit_events, sign_in_failures, flags, service_instances, flag_settings
TO hakem_service;
GRANT INSERT ON tenants, admins, players, audit_events TO hakem_service;
GRANT UPDATE (name, updated_at) ON tenants TO hakem_service;
GRANT UPDATE (email, password_hash, role, is_active, updated_at) ON admins TO hakem_service;
-- Everything about a player but the two balances.
GRANT UPDATE (external_id, email, username, password_hash, kyc_status, is_active, updated_at) ON players
TO hakem_service;
GRANT INSERT, UPDATE, DELETE ON sign_in_failures, service_instances, flag_settings TO hakem_service;
