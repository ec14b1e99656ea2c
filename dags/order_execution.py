from kraken_airflow.dags.order_execution import DAG
