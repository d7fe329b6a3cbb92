"""A judge behind an OpenAI-compatible server: any vision-language model that vLLM, SGLang, llama.cpp or a host runs."""

from collections.abc import Sequence

from derain.backends.chat import Answer, Chat, RequestRejected
from derain.backends.endpoint import ChatEndpoint, Spent
from derain.backends.endpoint_settings import EndpointSettings
from derain.backends.interfaces import Identity
from derain.backends.known_models import known_model
from derain.backends.retries import Clock
from derain.backends.streaming import AnswerStream, in_order
from derain.distill.judges.interface import Case, Decision, Verdict
from derain.distill.judges.prompt import prompt_digest
from derain.distill.judges.question import chat_of
from derain.distill.judges.reply import READING, read_reply
from derain.errors import ModelError


class EndpointJudge:
    """A vision-language model on a server, `openai:URL#MODEL`."""

    def __init__(
        self,
        url: str,
        model: str,
        settings: EndpointSettings | None = None,
        mosaic: bool | None = None,
        max_tokens: int = 8,
        clock: Clock | None = None,
    ) -> None:
        """
        `mosaic` shows all pictures on one canvas; None for what a known model was trained on, several pictures for
        others. `max_tokens` is in tokens; models that think aloud need some hundred. A threshold other than 0 is
        set by `bias.BiasedJudge`.

        Raises:
            SettingsError: the address cannot be one.
            ModelError: the key's environment variable is not set.
            MissingExtraError: openai is not installed.
        """
        self._settings = settings if settings is not None else EndpointSettings()
        self._endpoint = ChatEndpoint(url, model, self._settings, clock)
        self._model = model
        known = known_model(model)
        self._mosaic = (known is not None and known.showing == "mosaic") if mosaic is None else mosaic
        self._max_tokens = max_tokens

    @property
    def name(self) -> str:
        return f"openai:{self._model}"

    @property
    def batch_size(self) -> int:
        return self._endpoint.batch_size

    @property
    def identity(self) -> Identity:
        return self._endpoint.identity(
            {
                "prompt": prompt_digest(),
                "reading": READING,
                "mosaic": self._mosaic,
                "longest_reply": self._max_tokens,
            }
        )

    @property
    def spent(self) -> Spent:
        """What was asked of the server until now."""
        return self._endpoint.spent

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict for each case; `refused_by_server` is an abstention.

        The score is log P(yes) - log P(no) in nats; None where the server gives no log-probabilities.

        Raises:
            ModelError: no answer can be had now.
        """
        return in_order(self.answers(cases))

    def answers(self, questions: Sequence[Case]) -> AnswerStream[Verdict]:
        """The verdicts of `judge`, each as soon as it is there."""
        for place, answer in self._endpoint.answers([self._chat(case) for case in questions]):
            yield place, answer if isinstance(answer, ModelError) else self._verdict(answer)

    def _chat(self, case: Case) -> Chat:
        return chat_of(case, self._mosaic, self._settings.longest_side, self._max_tokens)

    def _verdict(self, answer: Answer | RequestRejected) -> Verdict:
        if isinstance(answer, RequestRejected):
            reply = f"status {answer.status}: {answer.message}"
            return Verdict(self.name, Decision.ABSTAIN, None, "refused_by_server", reply)
        reading = read_reply(answer.text, answer.tokens)
        return Verdict(self.name, reading.decision, reading.score, reading.reason, answer.text)
