CREATE TABLE aibridge_alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT aibridge_alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE aibridge_interceptions (
	id CHAR(36) NOT NULL,
	initiator_id TEXT NOT NULL,
	provider TEXT NOT NULL,
	provider_name TEXT NOT NULL,
	model TEXT NOT NULL,
	client TEXT NOT NULL,
	client_session_id TEXT,
	user_agent TEXT,
	correlating_tool_call_id TEXT,
	credential_kind TEXT NOT NULL,
	credential_hint TEXT,
	streaming BOOLEAN NOT NULL,
	started_at DATETIME NOT NULL,
	ended_at DATETIME,
	status TEXT DEFAULT 'in_progress' NOT NULL,
	http_status INTEGER,
	error TEXT,
	upstream_requests INTEGER DEFAULT 0 NOT NULL,
	metadata JSON NOT NULL, process_id CHAR(36), first_byte_ms FLOAT, reserved_nanousd BIGINT,
	CONSTRAINT pk_aibridge_interceptions PRIMARY KEY (id)
);

CREATE INDEX ix_aibridge_interceptions_client_session_id ON aibridge_interceptions (client_session_id);

CREATE INDEX ix_aibridge_interceptions_correlating_tool_call_id ON aibridge_interceptions (correlating_tool_call_id);

CREATE INDEX ix_aibridge_interceptions_initiator_id_started_at ON aibridge_interceptions (initiator_id, started_at);

CREATE INDEX ix_aibridge_interceptions_started_at ON aibridge_interceptions (started_at);

CREATE TABLE aibridge_token_usages (
	id CHAR(36) NOT NULL,
	interception_id CHAR(36) NOT NULL,
	provider_response_id TEXT,
	input_tokens BIGINT NOT NULL,
	output_tokens BIGINT NOT NULL,
	cache_read_input_tokens BIGINT NOT NULL,
	cache_write_input_tokens BIGINT NOT NULL,
	metadata JSON NOT NULL,
	created_at DATETIME NOT NULL, served_model TEXT, service_tier TEXT, speed TEXT, inference_geo TEXT, cost_nanousd BIGINT, price_version TEXT,
	CONSTRAINT pk_aibridge_token_usages PRIMARY KEY (id),
	CONSTRAINT fk_aibridge_token_usages_interception_id FOREIGN KEY(interception_id) REFERENCES aibridge_interceptions (id) ON DELETE CASCADE
);

CREATE INDEX ix_aibridge_token_usages_interception_id ON aibridge_token_usages (interception_id);

CREATE INDEX ix_aibridge_token_usages_created_at ON aibridge_token_usages (created_at);

CREATE INDEX ix_aibridge_token_usages_provider_response_id ON aibridge_token_usages (provider_response_id);

CREATE TABLE aibridge_user_prompts (
	id CHAR(36) NOT NULL,
	interception_id CHAR(36) NOT NULL,
	provider_response_id TEXT,
	prompt TEXT,
	metadata JSON NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_user_prompts PRIMARY KEY (id),
	CONSTRAINT fk_aibridge_user_prompts_interception_id FOREIGN KEY(interception_id) REFERENCES aibridge_interceptions (id) ON DELETE CASCADE
);

CREATE INDEX ix_aibridge_user_prompts_interception_id ON aibridge_user_prompts (interception_id);

CREATE INDEX ix_aibridge_user_prompts_created_at ON aibridge_user_prompts (created_at);

CREATE TABLE aibridge_tool_usages (
	id CHAR(36) NOT NULL,
	interception_id CHAR(36) NOT NULL,
	provider_response_id TEXT,
	tool_call_id TEXT,
	server_url TEXT,
	tool TEXT NOT NULL,
	input JSON,
	injected BOOLEAN NOT NULL,
	invocation_error TEXT,
	output JSON,
	duration_ms FLOAT,
	metadata JSON NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_tool_usages PRIMARY KEY (id),
	CONSTRAINT fk_aibridge_tool_usages_interception_id FOREIGN KEY(interception_id) REFERENCES aibridge_interceptions (id) ON DELETE CASCADE
);

CREATE INDEX ix_aibridge_tool_usages_interception_id ON aibridge_tool_usages (interception_id);

CREATE INDEX ix_aibridge_tool_usages_created_at ON aibridge_tool_usages (created_at);

CREATE INDEX ix_aibridge_tool_usages_tool_call_id ON aibridge_tool_usages (tool_call_id);

CREATE TABLE aibridge_model_thoughts (
	id CHAR(36) NOT NULL,
	interception_id CHAR(36) NOT NULL,
	content TEXT,
	metadata JSON NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_model_thoughts PRIMARY KEY (id),
	CONSTRAINT fk_aibridge_model_thoughts_interception_id FOREIGN KEY(interception_id) REFERENCES aibridge_interceptions (id) ON DELETE CASCADE
);

CREATE INDEX ix_aibridge_model_thoughts_interception_id ON aibridge_model_thoughts (interception_id);

CREATE INDEX ix_aibridge_model_thoughts_created_at ON aibridge_model_thoughts (created_at);

CREATE TABLE aibridge_keys (
	id CHAR(36) NOT NULL,
	hash TEXT NOT NULL,
	hint TEXT NOT NULL,
	actor TEXT NOT NULL,
	metadata JSON NOT NULL,
	created_at DATETIME NOT NULL,
	expires_at DATETIME,
	revoked_at DATETIME, console_role TEXT,
	CONSTRAINT pk_aibridge_keys PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ix_aibridge_keys_hash ON aibridge_keys (hash);

CREATE TABLE aibridge_processes (
	id CHAR(36) NOT NULL,
	host TEXT NOT NULL,
	started_at DATETIME NOT NULL,
	seen_at DATETIME NOT NULL,
	oldest_at DATETIME NOT NULL,
	ended_at DATETIME,
	CONSTRAINT pk_aibridge_processes PRIMARY KEY (id)
);

CREATE TABLE aibridge_toolsets (
	id CHAR(36) NOT NULL,
	digest TEXT NOT NULL,
	content TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_toolsets PRIMARY KEY (id)
);

CREATE TABLE aibridge_turns (
	id CHAR(36) NOT NULL,
	initiator_id TEXT NOT NULL,
	provider_name TEXT NOT NULL,
	toolset_id CHAR(36) NOT NULL,
	content TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_turns PRIMARY KEY (id),
	CONSTRAINT fk_aibridge_turns_toolset_id FOREIGN KEY(toolset_id) REFERENCES aibridge_toolsets (id)
);

CREATE INDEX ix_aibridge_turns_created_at ON aibridge_turns (created_at);

CREATE TABLE aibridge_anchors (
	id CHAR(36) NOT NULL,
	turn_id CHAR(36) NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_anchors PRIMARY KEY (id),
	CONSTRAINT fk_aibridge_anchors_turn_id FOREIGN KEY(turn_id) REFERENCES aibridge_turns (id) ON DELETE CASCADE
);

CREATE INDEX ix_aibridge_anchors_turn_id ON aibridge_anchors (turn_id);

CREATE INDEX ix_aibridge_turns_toolset_id ON aibridge_turns (toolset_id);

CREATE TABLE aibridge_users (
	actor TEXT NOT NULL,
	disabled_at DATETIME,
	CONSTRAINT pk_aibridge_users PRIMARY KEY (actor)
);

CREATE TABLE aibridge_audit (
	id CHAR(36) NOT NULL,
	created_at DATETIME NOT NULL,
	actor TEXT NOT NULL,
	origin TEXT NOT NULL,
	action TEXT NOT NULL,
	subject TEXT NOT NULL,
	details JSON NOT NULL,
	CONSTRAINT pk_aibridge_audit PRIMARY KEY (id)
);

CREATE INDEX ix_aibridge_audit_created_at ON aibridge_audit (created_at);

CREATE TABLE aibridge_usage_hourly (
	hour DATETIME NOT NULL,
	actor TEXT NOT NULL,
	team TEXT NOT NULL,
	provider TEXT NOT NULL,
	model TEXT NOT NULL,
	client TEXT NOT NULL,
	requests BIGINT NOT NULL,
	errors BIGINT NOT NULL,
	input_tokens BIGINT NOT NULL,
	output_tokens BIGINT NOT NULL,
	cache_read_input_tokens BIGINT NOT NULL,
	cache_write_input_tokens BIGINT NOT NULL,
	cost_nanousd BIGINT NOT NULL,
	unpriced_tokens BIGINT NOT NULL,
	first_byte_0 INTEGER NOT NULL,
	first_byte_1 INTEGER NOT NULL,
	first_byte_2 INTEGER NOT NULL,
	first_byte_3 INTEGER NOT NULL,
	first_byte_4 INTEGER NOT NULL,
	first_byte_5 INTEGER NOT NULL,
	first_byte_6 INTEGER NOT NULL,
	first_byte_7 INTEGER NOT NULL,
	first_byte_8 INTEGER NOT NULL,
	first_byte_9 INTEGER NOT NULL,
	first_byte_10 INTEGER NOT NULL,
	first_byte_11 INTEGER NOT NULL
);

CREATE TABLE aibridge_tools_hourly (
	hour DATETIME NOT NULL,
	actor TEXT NOT NULL,
	team TEXT NOT NULL,
	provider TEXT NOT NULL,
	model TEXT NOT NULL,
	client TEXT NOT NULL,
	tool TEXT NOT NULL,
	server_url TEXT NOT NULL,
	injected BOOLEAN NOT NULL,
	calls BIGINT NOT NULL,
	errors BIGINT NOT NULL,
	duration_0 INTEGER NOT NULL,
	duration_1 INTEGER NOT NULL,
	duration_2 INTEGER NOT NULL,
	duration_3 INTEGER NOT NULL,
	duration_4 INTEGER NOT NULL,
	duration_5 INTEGER NOT NULL,
	duration_6 INTEGER NOT NULL,
	duration_7 INTEGER NOT NULL,
	duration_8 INTEGER NOT NULL,
	duration_9 INTEGER NOT NULL,
	duration_10 INTEGER NOT NULL,
	duration_11 INTEGER NOT NULL
);

CREATE TABLE aibridge_sessions (
	id CHAR(36) NOT NULL,
	session TEXT NOT NULL,
	actor TEXT NOT NULL,
	client TEXT NOT NULL,
	team TEXT NOT NULL,
	provider TEXT NOT NULL,
	model TEXT NOT NULL,
	first_at DATETIME NOT NULL,
	last_at DATETIME NOT NULL,
	interceptions BIGINT NOT NULL,
	errors BIGINT NOT NULL,
	prompts BIGINT NOT NULL,
	tool_calls BIGINT NOT NULL,
	input_tokens BIGINT NOT NULL,
	output_tokens BIGINT NOT NULL,
	cache_read_input_tokens BIGINT NOT NULL,
	cache_write_input_tokens BIGINT NOT NULL,
	cost_nanousd BIGINT NOT NULL,
	unpriced_tokens BIGINT NOT NULL,
	first_prompt TEXT,
	CONSTRAINT pk_aibridge_sessions PRIMARY KEY (id)
);

CREATE INDEX ix_aibridge_usage_hourly_hour ON aibridge_usage_hourly (hour);

CREATE INDEX ix_aibridge_usage_hourly_actor_hour ON aibridge_usage_hourly (actor, hour);

CREATE INDEX ix_aibridge_tools_hourly_hour ON aibridge_tools_hourly (hour);

CREATE INDEX ix_aibridge_sessions_session ON aibridge_sessions (session);

CREATE INDEX ix_aibridge_sessions_last_at_id ON aibridge_sessions (last_at, id);

CREATE INDEX ix_aibridge_sessions_actor_last_at ON aibridge_sessions (actor, last_at);

CREATE TABLE aibridge_stored_objects (
	id CHAR(36) NOT NULL,
	object_id TEXT NOT NULL,
	provider_name TEXT NOT NULL,
	initiator_id TEXT NOT NULL,
	credential_hint TEXT,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_stored_objects PRIMARY KEY (id)
);

CREATE INDEX ix_aibridge_stored_objects_object_id ON aibridge_stored_objects (object_id);

CREATE INDEX ix_aibridge_stored_objects_created_at ON aibridge_stored_objects (created_at);

CREATE TABLE aibridge_budgets (
	id CHAR(36) NOT NULL,
	scope TEXT NOT NULL,
	name TEXT NOT NULL,
	period TEXT NOT NULL,
	limit_nanousd BIGINT,
	revision BIGINT NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	removed_at DATETIME,
	CONSTRAINT pk_aibridge_budgets PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ix_aibridge_budgets_revision ON aibridge_budgets (revision);

CREATE UNIQUE INDEX ix_aibridge_budgets_scope_name_period ON aibridge_budgets (scope, name, period);

CREATE TABLE aibridge_budget_periods (
	budget_id CHAR(36) NOT NULL,
	starts_at DATETIME NOT NULL,
	ends_at DATETIME NOT NULL,
	spent_nanousd BIGINT NOT NULL,
	reserved_nanousd BIGINT NOT NULL,
	warned INTEGER DEFAULT 0 NOT NULL,
	CONSTRAINT pk_aibridge_budget_periods PRIMARY KEY (budget_id, starts_at),
	CONSTRAINT fk_aibridge_budget_periods_budget_id FOREIGN KEY(budget_id) REFERENCES aibridge_budgets (id) ON DELETE CASCADE
);

CREATE TABLE aibridge_budget_notices (
	id CHAR(36) NOT NULL,
	content JSON NOT NULL,
	created_at DATETIME NOT NULL,
	attempts INTEGER DEFAULT 0 NOT NULL,
	due_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_budget_notices PRIMARY KEY (id)
);

CREATE INDEX ix_aibridge_budget_notices_due_at ON aibridge_budget_notices (due_at);

CREATE TABLE aibridge_console_users (
	name TEXT NOT NULL,
	role TEXT NOT NULL,
	password TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_console_users PRIMARY KEY (name)
);

CREATE TABLE aibridge_console_sessions (
	hash TEXT NOT NULL,
	name TEXT NOT NULL,
	role TEXT,
	created_at DATETIME NOT NULL,
	expires_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_console_sessions PRIMARY KEY (hash)
);

CREATE INDEX ix_aibridge_console_sessions_expires_at ON aibridge_console_sessions (expires_at);

CREATE TABLE aibridge_rollup_state (
	name TEXT NOT NULL,
	holder CHAR(36),
	leads_until DATETIME,
	since DATETIME,
	rolled_at DATETIME,
	frozen_before DATETIME, days_since DATETIME,
	CONSTRAINT pk_aibridge_rollup_state PRIMARY KEY (name)
);

CREATE TABLE aibridge_rollup_marks (
	id CHAR(36) NOT NULL,
	since DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_rollup_marks PRIMARY KEY (id)
);

CREATE TABLE aibridge_versions (
	revision TEXT NOT NULL,
	version TEXT NOT NULL,
	upgraded_at DATETIME NOT NULL,
	CONSTRAINT pk_aibridge_versions PRIMARY KEY (revision)
);

CREATE VIEW aibridge_v_usage_daily AS SELECT substr(hour, 1, 10) AS day, actor, team, provider, model, client, sum(requests) AS requests, sum(errors) AS errors, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cache_read_input_tokens) AS cache_read_input_tokens, sum(cache_write_input_tokens) AS cache_write_input_tokens, sum(cost_nanousd) / 1e9 AS cost_usd, sum(unpriced_tokens) AS unpriced_tokens FROM aibridge_usage_hourly GROUP BY substr(hour, 1, 10), actor, team, provider, model, client;

CREATE VIEW aibridge_v_sessions AS SELECT session, actor, client, team, provider, model, first_at, last_at, interceptions, errors, prompts, tool_calls, input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens, cost_nanousd / 1e9 AS cost_usd, unpriced_tokens FROM aibridge_sessions;

CREATE VIEW aibridge_v_interceptions AS SELECT i.id, i.initiator_id AS actor, i.provider, i.provider_name, i.model, i.client, i.client_session_id AS session, i.credential_kind, i.streaming, i.started_at, i.ended_at, i.status, i.http_status, i.error, i.upstream_requests, i.first_byte_ms, coalesce(json_extract(i.metadata, '$.team'), '') AS team, (julianday(i.ended_at) - julianday(i.started_at)) * 86400000 AS duration_ms, (SELECT coalesce(sum(input_tokens), 0) FROM aibridge_token_usages WHERE interception_id = i.id) AS input_tokens, (SELECT coalesce(sum(output_tokens), 0) FROM aibridge_token_usages WHERE interception_id = i.id) AS output_tokens, (SELECT coalesce(sum(cache_read_input_tokens), 0) FROM aibridge_token_usages WHERE interception_id = i.id) AS cache_read_input_tokens, (SELECT coalesce(sum(cache_write_input_tokens), 0) FROM aibridge_token_usages WHERE interception_id = i.id) AS cache_write_input_tokens, (SELECT sum(cost_nanousd) / 1e9 FROM aibridge_token_usages WHERE interception_id = i.id) AS cost_usd FROM aibridge_interceptions i;

CREATE TABLE aibridge_usage_daily (
	day DATETIME NOT NULL,
	team TEXT NOT NULL,
	provider TEXT NOT NULL,
	model TEXT NOT NULL,
	client TEXT NOT NULL,
	requests BIGINT NOT NULL,
	errors BIGINT NOT NULL,
	input_tokens BIGINT NOT NULL,
	output_tokens BIGINT NOT NULL,
	cache_read_input_tokens BIGINT NOT NULL,
	cache_write_input_tokens BIGINT NOT NULL,
	cost_nanousd BIGINT NOT NULL,
	unpriced_tokens BIGINT NOT NULL,
	first_byte_0 BIGINT NOT NULL,
	first_byte_1 BIGINT NOT NULL,
	first_byte_2 BIGINT NOT NULL,
	first_byte_3 BIGINT NOT NULL,
	first_byte_4 BIGINT NOT NULL,
	first_byte_5 BIGINT NOT NULL,
	first_byte_6 BIGINT NOT NULL,
	first_byte_7 BIGINT NOT NULL,
	first_byte_8 BIGINT NOT NULL,
	first_byte_9 BIGINT NOT NULL,
	first_byte_10 BIGINT NOT NULL,
	first_byte_11 BIGINT NOT NULL
);

CREATE INDEX ix_aibridge_usage_daily_day ON aibridge_usage_daily (day);

CREATE TABLE aibridge_people_daily (
	day DATETIME NOT NULL,
	actor TEXT NOT NULL,
	team TEXT NOT NULL,
	requests BIGINT NOT NULL,
	errors BIGINT NOT NULL,
	input_tokens BIGINT NOT NULL,
	output_tokens BIGINT NOT NULL,
	cache_read_input_tokens BIGINT NOT NULL,
	cache_write_input_tokens BIGINT NOT NULL,
	cost_nanousd BIGINT NOT NULL,
	unpriced_tokens BIGINT NOT NULL,
	first_byte_0 BIGINT NOT NULL,
	first_byte_1 BIGINT NOT NULL,
	first_byte_2 BIGINT NOT NULL,
	first_byte_3 BIGINT NOT NULL,
	first_byte_4 BIGINT NOT NULL,
	first_byte_5 BIGINT NOT NULL,
	first_byte_6 BIGINT NOT NULL,
	first_byte_7 BIGINT NOT NULL,
	first_byte_8 BIGINT NOT NULL,
	first_byte_9 BIGINT NOT NULL,
	first_byte_10 BIGINT NOT NULL,
	first_byte_11 BIGINT NOT NULL
);

CREATE INDEX ix_aibridge_people_daily_day ON aibridge_people_daily (day);

CREATE TABLE aibridge_tools_daily (
	day DATETIME NOT NULL,
	team TEXT NOT NULL,
	provider TEXT NOT NULL,
	model TEXT NOT NULL,
	client TEXT NOT NULL,
	tool TEXT NOT NULL,
	server_url TEXT NOT NULL,
	injected BOOLEAN NOT NULL,
	calls BIGINT NOT NULL,
	errors BIGINT NOT NULL,
	duration_0 BIGINT NOT NULL,
	duration_1 BIGINT NOT NULL,
	duration_2 BIGINT NOT NULL,
	duration_3 BIGINT NOT NULL,
	duration_4 BIGINT NOT NULL,
	duration_5 BIGINT NOT NULL,
	duration_6 BIGINT NOT NULL,
	duration_7 BIGINT NOT NULL,
	duration_8 BIGINT NOT NULL,
	duration_9 BIGINT NOT NULL,
	duration_10 BIGINT NOT NULL,
	duration_11 BIGINT NOT NULL
);

CREATE INDEX ix_aibridge_tools_daily_day ON aibridge_tools_daily (day);

CREATE INDEX ix_aibridge_people_daily_actor_day ON aibridge_people_daily (actor, day);

INSERT INTO aibridge_alembic_version VALUES ('0016')