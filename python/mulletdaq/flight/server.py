"""The Flight service: its verbs, each handed on to what does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from mulletdaq.errors import AccessRefusedError, MulletError, RequestError, StreamNotFoundError
from mulletdaq.extras import needs_extra
from mulletdaq.flight.access import TokenCheck, inside
from mulletdaq.flight.limits import Place, Places
from mulletdaq.flight.live import Followers, LiveRows, Sent, schema_of
from mulletdaq.flight.messages import (
    MAX_REQUEST_BYTES,
    STREAMS,
    VERBS,
    Nothing,
    RecordingInfo,
    Request,
    Status,
    StreamStatus,
    decode_arguments,
    decode_request,
    encode,
)
from mulletdaq.flight.pipe import FlightOptions
from mulletdaq.flight.refusals import told_to_client
from mulletdaq.flight.rings import Rings
from mulletdaq.flight.tickets import (
    Acknowledgement,
    RecordedTicket,
    StreamTicket,
    UploadFacts,
    parse_descriptor,
    parse_ticket,
)
from mulletdaq.flight.uploads import Uploads, UploadSession
from mulletdaq.ring import RingBuffer

with needs_extra("flight"):
    import pyarrow as pa
    from pyarrow import flight

_IPC_READ = 1 << 20


class Ask(Protocol):
    """Asks the daemon; the third argument tells whether nobody wants to know any more."""

    def __call__(self, name: str, arguments: Request, has_gone: Callable[[], bool] = ..., /) -> Any:
        """What it answers."""


class Service(flight.FlightServerBase):  # type: ignore[misc]
    """What clients talk to. Flight calls it from one thread a call.

    Parameters
    ----------
    options
        Where to listen, and what is allowed.
    ask
        Asks the daemon.
    token
        What clients must bring; None: nothing.
    certificate
        Chain and key in PEM; None: no TLS.
    """

    def __init__(
        self, options: FlightOptions, ask: Ask, token: bytes | None, certificate: tuple[bytes, bytes] | None
    ) -> None:
        scheme = "grpc" if certificate is None else "grpc+tls"
        host = f"[{options.host}]" if ":" in options.host.strip("[]") else options.host
        super().__init__(
            f"{scheme}://{host}:{options.port}",
            tls_certificates=None if certificate is None else [certificate],
            middleware=None if token is None else {"token": TokenCheck(token)},
        )
        self._options = options
        self._ask = ask
        self.rings = Rings(lambda: ask(STREAMS, Nothing()))
        self.places = Places(options.max_clients)
        self.followers = Followers()
        self.uploads = Uploads(options.state_folder)

    # ---- what there is

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[flight.FlightInfo]:
        """Every stream."""
        with told_to_client():
            if criteria:
                raise RequestError("list_flights takes no criteria")
            statuses = self._statuses()
            infos = []
            for address in self.rings.addresses(fresh=True):
                try:
                    infos.append(self._info(address.name, statuses))
                except StreamNotFoundError:
                    continue  # its ring is just being made
        return iter(infos)

    def get_flight_info(self, context: Any, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
        """One stream."""
        with told_to_client():
            return self._info(_stream_of(descriptor), self._statuses())

    def get_schema(self, context: Any, descriptor: flight.FlightDescriptor) -> flight.SchemaResult:
        """The columns of a stream; none while nobody has written into it."""
        with told_to_client():
            return flight.SchemaResult(schema_of(self.rings.get(_stream_of(descriptor))))

    def _statuses(self) -> Mapping[str, StreamStatus]:
        status: Status = self._ask("status", Nothing())
        return {stream.name: stream for stream in status.streams}

    def _info(self, name: str, statuses: Mapping[str, StreamStatus]) -> flight.FlightInfo:
        ring = self.rings.get(name)
        rows = ring.newest_row
        facts = statuses.get(name)
        ticket = flight.Ticket(encode(StreamTicket(stream=name)))
        return flight.FlightInfo(
            schema_of(ring),
            flight.FlightDescriptor.for_path(name),
            [flight.FlightEndpoint(ticket, [])],
            rows,
            -1,
            app_metadata=_facts_of(name, ring, rows, facts),
        )

    # ---- rows out

    def do_get(self, context: Any, ticket: flight.Ticket) -> flight.FlightDataStream:
        """Rows of a stream, a recording or a file."""
        with told_to_client():
            wanted = parse_ticket(ticket.ticket)
            place = self.places.take()
            if isinstance(wanted, StreamTicket):
                return self._live(wanted, place, context)
            return self._recorded(wanted, place)

    def _live(self, ticket: StreamTicket, place: Place, context: Any) -> flight.FlightDataStream:
        rows = LiveRows(self.rings.get(ticket.stream), ticket, context.is_cancelled, self.followers)
        return flight.GeneratorStream(rows.wait_for_schema(), _kept(place, rows.batches()))

    def _recorded(self, ticket: RecordedTicket, place: Place) -> flight.FlightDataStream:
        from mulletdaq.flight.recorded import RecordedRows

        rows = RecordedRows(self._path_of(ticket), ticket)
        return flight.GeneratorStream(rows.schema, _kept(place, rows.batches()))

    def _path_of(self, ticket: RecordedTicket) -> str:
        if ticket.file is not None:
            return inside(self._options.data_folders, ticket.file)
        recordings: list[RecordingInfo] = self._ask("list_recordings", Nothing())
        for recording in reversed(recordings):
            if recording.name == ticket.recording:
                return recording.path
        there = ", ".join(dict.fromkeys(recording.name for recording in recordings)) or "none"
        raise StreamNotFoundError(f"no recording {ticket.recording!r}; there is {there}")

    # ---- rows in

    def do_put(self, context: Any, descriptor: flight.FlightDescriptor, reader: Any, writer: Any) -> None:
        """A remote producer's rows into a ring."""
        with told_to_client():
            if not self._options.allow_upload:
                raise AccessRefusedError("this service takes no uploads")
            command = parse_descriptor(descriptor.path, descriptor.command)
            place = self.places.take()
            session = self.uploads.begin(self.rings.get(command.stream), command, reader.schema)
            try:
                writer.write(encode(Acknowledgement(rows=session.rows)))
                self._receive(session, reader, writer, context.is_cancelled)
            finally:
                session.end()
                place.release()

    def _receive(self, session: UploadSession, reader: Any, writer: Any, has_gone: Callable[[], bool]) -> None:
        for batch, metadata in _chunks(reader):
            facts = None if metadata is None else decode_request(metadata.to_pybytes(), UploadFacts)
            if batch is not None:
                self._check(batch)
                session.write(batch, None if facts is None else facts.first_row, has_gone)
            if facts is not None:
                # A client that says nothing of rows need not listen either: unread, these would hold it up one day.
                writer.write(encode(Acknowledgement(rows=session.rows)))
        if not has_gone():
            writer.write(encode(Acknowledgement(rows=session.rows)))

    def _check(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows > self._options.max_batch_rows:
            raise RequestError(f"a batch of {batch.num_rows} rows is over the limit of {self._options.max_batch_rows}")
        if batch.nbytes > self._options.max_message_mb << 20:
            raise RequestError(
                f"a batch of {batch.nbytes >> 20} MB is over the limit of {self._options.max_message_mb} MB; send less "
                "at once"
            )
        batch.validate(full=True)

    # ---- actions

    def list_actions(self, context: Any) -> list[tuple[str, str]]:
        """The verbs."""
        return [(name, verb.description) for name, verb in VERBS.items()]

    def do_action(self, context: Any, action: flight.Action) -> list[bytes]:
        """A verb: checked here, done by the daemon."""
        with told_to_client():
            verb = VERBS.get(action.type)
            if verb is None:
                raise RequestError(f"no action {action.type[:64]!r}; there are {', '.join(VERBS)}")
            body = action.body
            if body is not None and body.size > MAX_REQUEST_BYTES:
                raise RequestError(f"a request of {body.size} bytes is over the limit of {MAX_REQUEST_BYTES}")
            arguments = decode_arguments(verb, b"" if body is None else body.to_pybytes())
            return [encode(self._ask(action.type, arguments, context.is_cancelled))]

    def settle_uploads(self) -> None:
        """Find out how far the uploads of a killed process were."""
        for address in self.rings.addresses():
            try:
                self.uploads.settle(address.ring_path, address.stream_id)
            except (MulletError, OSError):
                continue  # then its next upload does, or is told why not


def _stream_of(descriptor: flight.FlightDescriptor) -> str:
    return parse_descriptor(descriptor.path, descriptor.command).stream


def _facts_of(name: str, ring: RingBuffer, rows: int, facts: StreamStatus | None) -> bytes:
    stream_id = f"{ring.stream_id:016x}"
    if facts is None or facts.stream_id != stream_id:
        facts = StreamStatus(name=name, ring_path=ring.path, stream_id=stream_id)
    told = {"stream_id": stream_id, "rows": rows, "rows_per_s": facts.rows_per_s, "rows_lost": facts.rows_lost}
    told |= {"ring_fill": facts.ring_fill, "last_row_age_s": facts.last_row_age_s}
    return encode(told | {"created_ns": ring.created_ns})


def _kept(place: Place, batches: Iterator[Sent]) -> Iterator[Sent]:
    """Batches, and a place that is given back with them, be they ever asked for or not."""
    try:
        with told_to_client():
            yield from batches
    finally:
        place.release()


def _chunks(reader: Any) -> Iterator[tuple[pa.RecordBatch | None, pa.Buffer | None]]:
    while True:
        try:
            chunk = reader.read_chunk()
        except StopIteration:
            return
        yield chunk.data, chunk.app_metadata
