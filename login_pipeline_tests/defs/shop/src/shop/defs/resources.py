import dagster as dg


# Its names are those that anybody would choose, and its executor and logger are its own.
@dg.definitions
def resources() -> dg.Definitions:
    storage = dg.FilesystemIOManager(base_dir=dg.EnvVar("SHOP_STORAGE"))
    names = {"sqs": "shop", "postgres": "shop", "masking": "shop", "io_manager": storage}
    return dg.Definitions(
        resources=names, executor=dg.multiprocess_executor, loggers={"console": dg.colored_console_logger}
    )
