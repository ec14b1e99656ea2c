-- Run once, when the server's data directory is made: two databases, each owned by a role of its own that
-- can reach nothing of the other. psql reads the passwords from the secret files.
\set airflow_password `cat /run/secrets/airflow_database_password`
\set trading_password `cat /run/secrets/trading_database_password`

create role airflow login password :'airflow_password';
create role trading login password :'trading_password';
create database airflow owner airflow;
create database trading owner trading;
revoke connect, temporary on database airflow from public;
revoke connect, temporary on database trading from public;
