-- Run once, when the server's data directory is made: two databases, each with roles of its own that can reach
-- nothing of the other. psql reads the passwords from the secret files. What the four roles of the trading database
-- may do there, `python -m kraken_recon migrate` grants: docs/how-to/least-privilege.md.
\set airflow_password `cat /run/secrets/airflow_database_password`
\set owner_password `cat /run/secrets/trading_owner_password`
\set writer_password `cat /run/secrets/trading_writer_password`
\set audit_password `cat /run/secrets/trading_audit_password`
\set reader_password `cat /run/secrets/trading_reader_password`

-- A server that has another trading database has them.
select format('create role %I nologin', name)
from unnest(array['kraken_recon_owner', 'kraken_recon_writer', 'kraken_recon_auditor', 'kraken_recon_reader']) as name
where not exists (select from pg_roles where rolname = name) \gexec

create role airflow login password :'airflow_password';
create role trading_owner login password :'owner_password' in role kraken_recon_owner;
create role trading_writer login password :'writer_password' in role kraken_recon_writer;
create role trading_audit login password :'audit_password' in role kraken_recon_auditor, pg_read_all_stats;
create role trading_reader login password :'reader_password' in role kraken_recon_reader;

create database airflow owner airflow;
create database trading owner kraken_recon_owner;
revoke connect, temporary on database airflow from public;
revoke connect, temporary on database trading from public;
grant connect on database trading to kraken_recon_writer, kraken_recon_auditor, kraken_recon_reader;
-- The session audit looks at Airflow's sessions, too, and at nothing else there.
grant connect on database airflow to trading_audit;
