"""A client that knows nothing of this package: ``python stock_client.py ADDRESS FILE``; its results as JSON."""

import json
import sys
import threading
import time

import pyarrow as pa
import pyarrow.flight as flight

STREAM = "experiment_data"
SCHEMA = pa.schema([pa.field("timestamp", pa.int64()), pa.field("volts", pa.float64()), pa.field("count", pa.int32())])
ROWS = 5000


def rows(first: int, count: int) -> pa.RecordBatch:
    """A batch whose values tell their row; all of it measured just now."""
    numbers = range(first, first + count)
    columns = [[time.time_ns()] * count, [number * 0.5 for number in numbers], list(numbers)]
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def action(client: flight.FlightClient, verb: str, **arguments: object) -> object:
    (result,) = client.do_action(flight.Action(verb, json.dumps(arguments).encode()))
    return json.loads(result.body.to_pybytes())


def upload(client: flight.FlightClient, first: int, count: int) -> int:
    """Rows, batch by batch, each acknowledged; how many the service says are there."""
    command = json.dumps({"stream": STREAM, "upload": f"from-{first}"})
    writer, reader = client.do_put(flight.FlightDescriptor.for_command(command), SCHEMA)
    acknowledged = json.loads(reader.read().to_pybytes())["rows"]
    for row in range(0, count, 100):
        writer.write_with_metadata(rows(first + row, 100), json.dumps({"first_row": row}).encode())
        acknowledged = json.loads(reader.read().to_pybytes())["rows"]
    writer.close()
    return acknowledged


def main() -> None:
    address, path = sys.argv[1:]
    told: dict[str, object] = {}
    with flight.connect(address) as client:
        told["before"] = [[info.descriptor.path[0].decode(), info.schema.names] for info in client.list_flights()]
        told["verbs"] = sorted(one.type for one in client.list_actions())

        live: list[int] = []
        lost: list[int] = []

        def follow() -> None:
            with flight.connect(address) as other:
                ticket = {"stream": STREAM, "start": 0, "stop": ROWS, "follow": True}
                for chunk in other.do_get(flight.Ticket(json.dumps(ticket))):
                    live.extend(chunk.data.column("count").to_pylist())
                    lost.append(json.loads(chunk.app_metadata.to_pybytes())["lost_rows"])

        follower = threading.Thread(target=follow)
        follower.start()
        told["acknowledged"] = upload(client, 0, ROWS // 2)
        told["recording"] = action(
            client, "start_recording", name="shot", path=path, since_s=30, metadata={"who": "Ada"}
        )
        told["acknowledged_later"] = upload(client, ROWS // 2, ROWS // 2)
        follower.join()
        told["live_is_whole"] = live == list(range(ROWS)) and sum(lost) == 0
        told["schema"] = client.get_schema(flight.FlightDescriptor.for_path(STREAM)).schema.names
        told["flushed"] = action(client, "flush")
        action(client, "annotate", text="shutter opened")
        told["stopped"] = action(client, "stop_recording", name="shot")
        told["rows_of_file"] = client.do_get(flight.Ticket(json.dumps({"recording": "shot"}))).read_all().num_rows
        told["status"] = action(client, "status")
        told["health"] = action(client, "health")
        told["list"] = [[one["name"], one["state"]] for one in action(client, "list_recordings")]
    assert not any(name.startswith("mulletdaq") for name in sys.modules)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
