from kraken_airflow.dags.session_leak_audit import DAG
