from kraken_airflow.dags.order_verification import DAG
