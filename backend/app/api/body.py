"""Request bodies, decoded straight from bytes to their struct, in one pass.

The framework's own way is JSON to builtins to struct; on it a JSON number has become a float before anybody could look
at its digits, and an amount would be judged by what the float happens to print.
"""

import re
from typing import Any, Final

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.dto._backend import DTOBackend
from litestar.dto.base_dto import AbstractDTO
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from backend.app.domain.errors import AppError, FieldError

_PATH: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")


class MalformedJson(AppError):
    """400: the body is no JSON text in UTF-8, or is nested beyond all reason."""

    error_code = "MALFORMED_JSON"
    status = 400
    title = "The body is not valid JSON in UTF-8"


class JsonBody(AbstractDTO[Any]):
    """The application's one body reader. Set as `dto` on the application; routes just annotate `data`."""

    # By the body's type and not by the handler's id, which the framework puts together anew each time it is asked.
    _decoders: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}

    @classmethod
    def create_for_field_definition(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,  # noqa: ARG003 - the framework's signature, here and below
        backend_cls: type[DTOBackend] | None = None,  # noqa: ARG003
    ) -> None:
        """Called by the framework once for each handler that takes a body."""
        cls._decoders[field_definition.annotation] = msgspec.json.Decoder(field_definition.annotation)

    def decode_bytes(self, value: bytes) -> Any:
        """The struct in a body. Raises MalformedJson, or FieldError naming the field."""
        field_definition = self.asgi_connection.route_handler.parsed_data_field
        assert field_definition is not None, "only handlers that take a body have it decoded"
        if not value and field_definition.is_optional:
            return None
        decoder = self._decoders[field_definition.annotation]
        try:
            return decoder.decode(value)
        except msgspec.ValidationError as error:
            message = str(error)
            path = _PATH.search(message)
            field = path["path"].lstrip(".") if path else ""
            raise FieldError(field or "body", _PATH.sub("", message)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedJson from None

    @classmethod
    def create_openapi_schema(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,  # noqa: ARG003
        schema_creator: SchemaCreator,
    ) -> Reference | Schema:
        """The struct's own schema."""
        return schema_creator.for_field_definition(field_definition)

    def decode_builtins(self, value: Any) -> Any:  # noqa: ARG002
        """Unused: bodies are JSON bytes."""
        raise AssertionError("only JSON bodies are read")

    def data_to_encodable_type(self, data: Any) -> Any:
        """Unused: answers are encoded from their structs."""
        return data

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003
        """Any type that msgspec decodes."""
        return True
