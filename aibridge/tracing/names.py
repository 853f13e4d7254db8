"""The names of spans' attributes, in one place: those of GenAI are not stable yet, and move between packages.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ and https://opentelemetry.io/docs/specs/semconv/http/
"""

from collections.abc import Mapping

# HTTP and general ones: stable
ERROR_TYPE = "error.type"
METHOD = "http.request.method"
ROUTE = "http.route"
STATUS_CODE = "http.response.status_code"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
USER_AGENT = "user_agent.original"

# GenAI: in development
CONVERSATION_ID = "gen_ai.conversation.id"
INPUT_MESSAGES = "gen_ai.input.messages"
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_NAME = "gen_ai.tool.name"
TOOL_RESULT = "gen_ai.tool.call.result"
TOOL_TYPE = "gen_ai.tool.type"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
"""All of them: the tokens of the caches are among them, other than in the gateway's own records."""
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"

# The gateway's own
ACTOR = "aibridge.actor"
CLIENT = "aibridge.client"
COST = "aibridge.cost_usd"
INTERCEPTION = "aibridge.interception.id"
PROVIDER_NAME = "aibridge.provider"
STATUS = "aibridge.status"
STREAMING = "aibridge.streaming"
TOOL_SERVER = "aibridge.tool.server"

PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "foundry": "azure.ai.inference",
    "openai": "openai",
    "vertex": "gcp.vertex_ai",
}
"""The conventions' names of the types of providers; any other type has its own name."""
