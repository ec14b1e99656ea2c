from kraken_airflow.dags.position_sync import DAG
