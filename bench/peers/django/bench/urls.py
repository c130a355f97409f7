from django.db.models import Q
from django.urls import include, path
from rest_framework import serializers, viewsets
from rest_framework.routers import SimpleRouter
from rest_framework_simplejwt.views import TokenObtainPairView

from .models import Task


class TaskSerializer(serializers.ModelSerializer):
    class Meta:
        model = Task
        fields = [
            'id', 'title', 'description', 'status', 'assigned_to', 'created_by', 'created_at', 'updated_at',
        ]
        read_only_fields = ['created_by', 'created_at', 'updated_at']


class TaskViewSet(viewsets.ModelViewSet):
    serializer_class = TaskSerializer

    def get_queryset(self):
        user = self.request.user.pk
        if self.action != 'list':
            return Task.objects.filter(Q(created_by_id=user) | Q(assigned_to_id=user))
        status = self.request.query_params.get('status')
        return Task.objects.filter(created_by_id=user, status=status).order_by('-created_at', '-id')

    def perform_create(self, serializer):
        serializer.save(created_by=self.request.user)


router = SimpleRouter(trailing_slash=False)
router.register('tasks', TaskViewSet, basename='task')
urlpatterns = [path('', include(router.urls)), path('token', TokenObtainPairView.as_view())]
