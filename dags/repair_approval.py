from kraken_airflow.dags.repair_approval import DAG
