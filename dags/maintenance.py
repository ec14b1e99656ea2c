from kraken_airflow.dags.maintenance import DAG
